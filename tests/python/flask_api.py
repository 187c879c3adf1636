"""An API as Flask's documentation builds one behind a proxy; every answer says which handler ran, and for whom."""

from flask import Flask, jsonify, request
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)


class MethodOverride:
    """https://flask.palletsprojects.com/en/stable/patterns/methodoverrides/"""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        if method in {"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"}:
            environ["REQUEST_METHOD"] = method
        return self.application(environ, start_response)


app.wsgi_app = MethodOverride(ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1))

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def handled(handler, environment=None):
    answer = jsonify(
        handler=handler,
        environment=environment,
        method=request.method,
        mount=request.script_root,
        address=request.remote_addr,
        scheme=request.scheme,
        host=request.host,
        user=request.remote_user or request.authorization and request.authorization.username,
        # what HTTP clients of CGI programs take for their proxy (httpoxy)
        proxy=request.environ.get("HTTP_PROXY"),
        key=request.headers.get("X-API-Key-Id"),
    )
    answer.headers["X-Handled-By"] = handler
    return answer


@app.route("/v1/projects/<environment>/", methods=METHODS)
@app.route("/v1/projects/<environment>/<path:rest>", methods=METHODS)
def resource(environment, rest=None):
    return handled("resource", environment)


@app.route("/v1/docs", methods=METHODS)
def published():
    return handled("published")


@app.route("/", methods=METHODS)
@app.route("/<path:rest>", methods=METHODS)
def internal(rest=None):
    return handled("internal")
