"""Python's own HTTP clients against the gateway.

    http_client.py urllib BASE ACCESS_KEY SECRET CA     urllib answers the gateway's challenge by itself
    http_client.py netrc HOST PORT PATH FILE            http.client with the credentials of a .netrc file
    http_client.py kept HOST PORT PATH ACCESS_KEY SECRET
                                                        many requests of all sizes on one kept connection

Each prints "ok", or what was wrong. The API behind the gateway answers with what it was sent.
"""

import base64
import http.client
import netrc
import ssl
import sys
import urllib.error
import urllib.request


def equal(what, seen, wanted):
    if seen != wanted:
        sys.exit("%s: saw %r, wanted %r" % (what, seen, wanted))


def basic(access_key, secret):
    return "Basic " + base64.b64encode(("%s:%s" % (access_key, secret)).encode()).decode()


def with_urllib(base, access_key, secret, ca):
    context = ssl.create_default_context(cafile=ca) if ca != "none" else None
    handlers = [urllib.request.HTTPSHandler(context=context)] if context else []

    try:
        urllib.request.build_opener(*handlers).open(base + "/hello", timeout=20)
        sys.exit("the request without a key was let through")
    except urllib.error.HTTPError as error:
        equal("status without a key", error.code, 401)
        equal("challenges", len(error.headers.get_all("WWW-Authenticate")), 1)

    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, base, access_key, secret)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords), *handlers)
    with opener.open(base + "/hello", timeout=20) as answer:
        equal("status", answer.status, 200)
    with opener.open(urllib.request.Request(base + "/echo", b"a=b&c=d"), timeout=20) as answer:
        equal("echoed form", answer.read(), b"a=b&c=d")

    passwords.add_password(None, base, access_key, secret[:-1] + "!")
    wrong = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords), *handlers)
    try:
        wrong.open(base + "/hello", timeout=20)
        sys.exit("a wrong secret was let through")
    except urllib.error.HTTPError as error:
        equal("status with a wrong secret", error.code, 401)
    print("ok")


def with_netrc(host, port, path, file):
    access_key, _, secret = netrc.netrc(file).authenticators(host)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", path, headers={"Authorization": basic(access_key, secret)})
    equal("status", connection.getresponse().status, 200)
    print("ok")


def kept(host, port, path, access_key, secret):
    headers = {"Authorization": basic(access_key, secret)}
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.connect()
    local = connection.sock.getsockname()
    for size in (0, 1, 2, 1023, 65535, 65536, 65537, 1000000, 0, 3):
        body = bytes(index * 7 % 251 for index in range(size))
        for chunked in (False, True):
            if chunked:
                pieces = (body[start : start + 4097] for start in range(0, size, 4097))
                connection.request("PUT", path, pieces, headers, encode_chunked=True)
            else:
                connection.request("PUT", path, body, headers)
            answer = connection.getresponse()
            equal("status of %d bytes" % size, answer.status, 200)
            equal("echo of %d bytes" % size, answer.read() == body, True)
            connection.request("HEAD", path, headers=headers)
            answer = connection.getresponse()
            equal("status of HEAD", (answer.status, answer.read()), (200, b""))
            equal("kept connection", connection.sock and connection.sock.getsockname(), local)
    print("ok")


if __name__ == "__main__":
    {"urllib": with_urllib, "netrc": with_netrc, "kept": kept}[sys.argv[1]](*sys.argv[2:])
