"""A gRPC service and its client, without generated code: the messages are plain bytes.

    grpc_echo.py serve                              prints "port N", serves until standard input closes
    grpc_echo.py call ADDRESS PREFIX CREDENTIALS ACCOUNT
                                                    makes the four kinds of calls through ADDRESS, prints "ok"
    grpc_echo.py refused ADDRESS PREFIX CREDENTIALS CODE
                                                    makes one call that must fail with CODE, prints "ok"
"""

import base64
import concurrent.futures
import queue
import sys

import grpc

LARGE = 3 * 1024 * 1024


def what_came(context):
    """Tells in the trailers what the call carried, so that the client can judge the gateway."""
    metadata = dict(context.invocation_metadata())
    context.set_trailing_metadata(
        (
            ("saw-authorization", "yes" if "authorization" in metadata else "no"),
            ("saw-account", metadata.get("x-api-account-id", "none")),
            ("saw-binary-bin", metadata.get("probe-bin", b"")),
        )
    )


def unary(request, context):
    what_came(context)
    return request


def client_stream(requests, context):
    total = sum(len(request) for request in requests)
    what_came(context)
    return str(total).encode()


def server_stream(request, context):
    what_came(context)
    for number in range(int(request)):
        yield b"message %d" % number


def both(requests, context):
    what_came(context)
    for request in requests:
        yield b"echo " + request


def fail(request, context):
    what_came(context)
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100 % sure")


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "Both": grpc.stream_stream_rpc_method_handler(both),
            "Fail": grpc.unary_unary_rpc_method_handler(fail),
        }.get(details.method.rsplit("/", 1)[-1])


def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("port", port, flush=True)
    sys.stdin.read()
    server.stop(None)


def equal(what, seen, wanted):
    if seen != wanted:
        sys.exit("%s: saw %r, wanted %r" % (what, seen, wanted))


class Trailers:
    def __init__(self, account):
        self.account = account

    def check(self, what, call):
        trailers = dict(call.trailing_metadata())
        equal(what + ": authorization at the service", trailers.get("saw-authorization"), "no")
        equal(what + ": account at the service", trailers.get("saw-account"), self.account)
        equal(what + ": binary metadata at the service", trailers.get("saw-binary-bin"), b"\x00\xff\x10")


def metadata_of(credentials):
    token = base64.b64encode(credentials.encode()).decode()
    return (("authorization", "Basic " + token), ("probe-bin", b"\x00\xff\x10"))


def call(address, prefix, credentials, account):
    trailers = Trailers(account)
    metadata = metadata_of(credentials)
    with grpc.insecure_channel(address) as channel:
        one = channel.unary_unary(prefix + "/Unary")
        for payload in (b"", b"hello", b"x" * LARGE):
            answer, state = one.with_call(payload, metadata=metadata, timeout=20)
            equal("unary answer", answer, payload)
            trailers.check("unary", state)

        answer, state = channel.stream_unary(prefix + "/ClientStream").with_call(
            iter([b"y" * 60000] * 20), metadata=metadata, timeout=20
        )
        equal("client stream answer", answer, str(60000 * 20).encode())
        trailers.check("client stream", state)

        stream = channel.unary_stream(prefix + "/ServerStream")(b"300", metadata=metadata, timeout=20)
        equal("server stream", list(stream), [b"message %d" % number for number in range(300)])
        trailers.check("server stream", stream)

        # Each message is sent only after the answer to the one before has come: nothing may be held back.
        questions = queue.SimpleQueue()
        stream = channel.stream_stream(prefix + "/Both")(iter(questions.get, None), metadata=metadata, timeout=20)
        for number in range(20):
            questions.put(b"%d" % number)
            equal("both ways", next(stream), b"echo %d" % number)
        questions.put(None)
        equal("both ways, end", list(stream), [])
        trailers.check("both ways", stream)

        try:
            channel.unary_unary(prefix + "/Fail")(b"", metadata=metadata, timeout=20)
            sys.exit("the failing call succeeded")
        except grpc.RpcError as error:
            equal("status", error.code(), grpc.StatusCode.FAILED_PRECONDITION)
            equal("details", error.details(), "not today: 100 % sure")
            trailers.check("failing call", error)
    print("ok")


def refused(address, prefix, credentials, code):
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(prefix + "/Unary")(b"", metadata=metadata_of(credentials), timeout=20)
            sys.exit("the call was let through")
        except grpc.RpcError as error:
            equal("status", error.code(), getattr(grpc.StatusCode, code))
    print("ok")


if __name__ == "__main__":
    {"serve": serve, "call": call, "refused": refused}[sys.argv[1]](*sys.argv[2:])
