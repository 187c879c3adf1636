"""Decodes OTLP requests with the official definitions: prints a JSON document for each file that is named.

Fails where a file is no ExportTraceServiceRequest to the last byte: what is written again must be the same bytes.
"""

import json
import pathlib
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def value_of(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind)


def attributes_of(message):
    names = [pair.key for pair in message.attributes]
    assert len(names) == len(set(names)), f"an attribute stands there twice: {names}"
    return {pair.key: value_of(pair.value) for pair in message.attributes}


def span_of(span):
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "flags": span.flags,
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": Status.StatusCode.Name(span.status.code),
        "attributes": attributes_of(span),
    }


for name in sys.argv[1:]:
    data = pathlib.Path(name).read_bytes()
    request = ExportTraceServiceRequest.FromString(data)
    assert request.SerializeToString(deterministic=True) == data, MessageToDict(request)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            document = {
                "resource": attributes_of(resource_spans.resource),
                "scope": scope_spans.scope.name,
                "spans": [span_of(span) for span in scope_spans.spans],
            }
            print(json.dumps(document))
