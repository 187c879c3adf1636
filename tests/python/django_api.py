"""An API in Django as its documentation sets one up behind a proxy; every answer says which handler ran, and for whom."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path, re_path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    USE_X_FORWARDED_HOST=True,
    USE_X_FORWARDED_PORT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
)


def handled(request, handler, environment=None):
    answer = JsonResponse(
        {
            "handler": handler,
            "environment": environment,
            "method": request.method,
            "mount": request.META.get("SCRIPT_NAME", ""),
            "address": request.META.get("REMOTE_ADDR"),
            "scheme": request.scheme,
            "host": request.get_host(),
            "user": request.META.get("REMOTE_USER"),
            "proxy": request.META.get("HTTP_PROXY"),
            "key": request.META.get("HTTP_X_API_KEY_ID"),
        }
    )
    answer["X-Handled-By"] = handler
    return answer


urlpatterns = [
    re_path(
        r"^v1/projects/(?P<environment>[^/]+)(/.*)?$",
        lambda request, environment: handled(request, "resource", environment),
    ),
    path("v1/docs", lambda request: handled(request, "published")),
    re_path(r"", lambda request: handled(request, "internal")),
]

application = get_asgi_application()
