"""One trace as it leaves the Collector in each of its encodings, and traces as others write them.

`OTLP_JSON` went through the translators of opentelemetry-collector-contrib v0.158.0 (`pkg/translator/zipkin` and
`pkg/translator/jaeger`, what its Kafka exporter calls for `zipkin_json`, `jaeger_json` and `jaeger_proto`); the other
constants are what came out.
"""

from __future__ import annotations

OTLP_JSON = (
    '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"frontend"}},{"key":'
    '"k8s.namespace.name","value":{"stringValue":"shop"}},{"key":"k8s.pod.name","value":{"stringValue":"frontend-7d'
    '9f8b6c5-x2x4z"}},{"key":"service.version","value":{"stringValue":"1.4.2"}}]},"scopeSpans":[{"scope":{"name":"i'
    'o.example.http","version":"2.0"},"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba9'
    '02b7","name":"GET","kind":3,"startTimeUnixNano":"1700000000123456789","endTimeUnixNano":"1700000000173456789",'
    '"attributes":[{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"url.full","value":{"stringVa'
    'lue":"http://cart.shop.svc:8080/items/42?x=1"}},{"key":"http.response.status_code","value":{"intValue":"500"}}'
    ',{"key":"server.address","value":{"stringValue":"cart.shop.svc"}},{"key":"server.port","value":{"intValue":"80'
    '80"}},{"key":"sampled","value":{"boolValue":true}},{"key":"ratio","value":{"doubleValue":0.25}},{"key":"blob",'
    '"value":{"bytesValue":"AAEC"}}],"events":[{"timeUnixNano":"1700000000150000000","name":"exception","attributes'
    '":[{"key":"exception.type","value":{"stringValue":"IOError"}}]}],"links":[{"traceId":"0af7651916cd43dd8448eb21'
    '1c80319c","spanId":"b7ad6b7169203331"}],"status":{"code":2,"message":"upstream said \\"no\\""}}]}]},{"resource":'
    '{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}},{"key":"k8s.namespace.name","value":{"str'
    'ingValue":"shop"}}]},"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"53995c3f4'
    '2cd8ad8","parentSpanId":"00f067aa0ba902b7","name":"GET /items/{id}","kind":2,"startTimeUnixNano":"170000000013'
    '0000000","endTimeUnixNano":"1700000000160000999","attributes":[{"key":"http.request.method","value":{"stringVa'
    'lue":"GET"}},{"key":"http.route","value":{"stringValue":"/items/{id}"}},{"key":"http.response.status_code","va'
    'lue":{"intValue":"500"}},{"key":"client.address","value":{"stringValue":"10.1.2.3"}}],"status":{"code":2}}]}]}'
    "]}"
)
ZIPKIN_LIST = (
    '[{"timestamp":1700000000123457,"duration":50000,"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","id":"00f067aa0ba'
    '902b7","name":"get","kind":"CLIENT","localEndpoint":{"serviceName":"frontend"},"annotations":[{"timestamp":170'
    '0000000150000,"value":"exception|{\\"exception.type\\":\\"IOError\\"}|0"}],"tags":{"blob":"AAEC","error":"true","h'
    'ttp.request.method":"GET","http.response.status_code":"500","http.status_code":"500","k8s.namespace.name":"sho'
    'p","k8s.pod.name":"frontend-7d9f8b6c5-x2x4z","otel.library.name":"io.example.http","otel.library.version":"2.0'
    '","otel.status_code":"STATUS_CODE_ERROR","otel.status_description":"upstream said \\"no\\"","otlp.link.0":"0af76'
    '51916cd43dd8448eb211c80319c|b7ad6b7169203331||{}|0","ratio":"0.25","sampled":"true","server.address":"cart.sho'
    'p.svc","server.port":"8080","service.version":"1.4.2","url.full":"http://cart.shop.svc:8080/items/42?x=1"}},{"'
    'timestamp":1700000000130000,"duration":30001,"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","id":"53995c3f42cd8a'
    'd8","parentId":"00f067aa0ba902b7","name":"get /items/{id}","kind":"SERVER","localEndpoint":{"serviceName":"car'
    't"},"tags":{"client.address":"10.1.2.3","error":"true","http.request.method":"GET","http.response.status_code"'
    ':"500","http.route":"/items/{id}","http.status_code":"500","k8s.namespace.name":"shop","otel.status_code":"STA'
    'TUS_CODE_ERROR"}}]'
)
JAEGER_JSON = (
    (
        '{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId":"APBnqgupArc=","operationName":"GET","references":[{"traceId":"'
        'CvdlGRbNQ92ESOshHIAxnA==","spanId":"t61rcWkgMzE=","refType":"FOLLOWS_FROM"}],"startTime":"2023-11-14T22:13:20.'
        '123456789Z","duration":"0.050s","tags":[{"key":"otel.scope.name","vStr":"io.example.http"},{"key":"otel.scope.'
        'version","vStr":"2.0"},{"key":"http.request.method","vStr":"GET"},{"key":"url.full","vStr":"http://cart.shop.s'
        'vc:8080/items/42?x=1"},{"key":"http.status_code","vType":"INT64","vInt64":"500"},{"key":"server.address","vStr'
        '":"cart.shop.svc"},{"key":"server.port","vType":"INT64","vInt64":"8080"},{"key":"sampled","vType":"BOOL","vBoo'
        'l":true},{"key":"ratio","vType":"FLOAT64","vFloat64":0.25},{"key":"blob","vType":"BINARY","vBinary":"AAEC"},{"'
        'key":"span.kind","vStr":"client"},{"key":"otel.status_code","vStr":"ERROR"},{"key":"error","vType":"BOOL","vBo'
        'ol":true},{"key":"otel.status_description","vStr":"upstream said \\"no\\""}],"logs":[{"timestamp":"2023-11-14T'
        '22:13:20.150Z","fields":[{"key":"event","vStr":"exception"},{"key":"exception.type","vStr":"IOError"}]}],"proces'
        's":{"serviceName":"frontend","tags":[{"key":"k8s.namespace.name","vStr":"shop"},{"key":"k8s.pod.name","vStr":"'
        'frontend-7d9f8b6c5-x2x4z"},{"key":"service.version","vStr":"1.4.2"}]}}'
    ),
    (
        '{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId":"U5lcP0LNitg=","operationName":"GET /items/{id}","references":['
        '{"traceId":"S/kvNXezTaajzpKdDg5HNg==","spanId":"APBnqgupArc="}],"startTime":"2023-11-14T22:13:20.130Z","durati'
        'on":"0.030000999s","tags":[{"key":"http.request.method","vStr":"GET"},{"key":"http.route","vStr":"/items/{id}"'
        '},{"key":"http.status_code","vType":"INT64","vInt64":"500"},{"key":"client.address","vStr":"10.1.2.3"},{"key":'
        '"span.kind","vStr":"server"},{"key":"otel.status_code","vStr":"ERROR"},{"key":"error","vType":"BOOL","vBool":t'
        'rue}],"process":{"serviceName":"cart","tags":[{"key":"k8s.namespace.name","vStr":"shop"}]}}'
    ),
)
JAEGER_PROTO = tuple(
    bytes.fromhex(text)
    for text in (
        "0a104bf92f3577b34da6a3ce929d0e0e4736120800f067aa0ba902b71a03474554221e0a100af7651916cd43dd8448eb211c"
        "80319c1208b7ad6b71692033311801320b0880e2cfaa0610959aef3a3a051080e1eb1742220a0f6f74656c2e73636f70652e"
        "6e616d651a0f696f2e6578616d706c652e6874747042190a126f74656c2e73636f70652e76657273696f6e1a03322e30421a"
        "0a13687474702e726571756573742e6d6574686f641a0347455442320a0875726c2e66756c6c1a26687474703a2f2f636172"
        "742e73686f702e7376633a383038302f6974656d732f34323f783d3142170a10687474702e7374617475735f636f64651002"
        "28f403421f0a0e7365727665722e616464726573731a0d636172742e73686f702e73766342120a0b7365727665722e706f72"
        "74100228903f420d0a0773616d706c65641001200142120a05726174696f100331000000000000d03f420d0a04626c6f6210"
        "043a0300010242130a097370616e2e6b696e641a06636c69656e7442190a106f74656c2e7374617475735f636f64651a0545"
        "52524f52420b0a056572726f7210012001422d0a176f74656c2e7374617475735f6465736372697074696f6e1a1275707374"
        "7265616d207361696420226e6f224a3c0a0b0880e2cfaa061080a3c34712120a056576656e741a09657863657074696f6e12"
        "190a0e657863657074696f6e2e747970651a07494f4572726f72526a0a0866726f6e74656e64121a0a126b38732e6e616d65"
        "73706163652e6e616d651a0473686f7012280a0c6b38732e706f642e6e616d651a1866726f6e74656e642d37643966386236"
        "63352d783278347a12180a0f736572766963652e76657273696f6e1a05312e342e32",
        "0a104bf92f3577b34da6a3ce929d0e0e4736120853995c3f42cd8ad81a0f474554202f6974656d732f7b69647d221c0a104b"
        "f92f3577b34da6a3ce929d0e0e4736120800f067aa0ba902b7320b0880e2cfaa061080c9fe3d3a0510e78ea70e421a0a1368"
        "7474702e726571756573742e6d6574686f641a0347455442190a0a687474702e726f7574651a0b2f6974656d732f7b69647d"
        "42170a10687474702e7374617475735f636f6465100228f403421a0a0e636c69656e742e616464726573731a0831302e312e"
        "322e3342130a097370616e2e6b696e641a0673657276657242190a106f74656c2e7374617475735f636f64651a054552524f"
        "52420b0a056572726f721001200152220a0463617274121a0a126b38732e6e616d6573706163652e6e616d651a0473686f70",
    )
)

# Zipkin's own form of a shared span (both halves have one id), after the traces of openzipkin/zipkin.
ZIPKIN_CLIENT = (
    '{"traceId":"5982fe77008310cc","parentId":"5982fe77008310cc","id":"bd7a977555f6b982","kind":"CLIENT","name":"get",'
    '"timestamp":1502787600000000,"duration":20000,"localEndpoint":{"serviceName":"frontend","ipv4":"172.17.0.13"},'
    '"remoteEndpoint":{"serviceName":"backend","ipv4":"172.17.0.9","port":9000},'
    '"tags":{"http.method":"GET","http.path":"/api"}}'
)
ZIPKIN_SERVER = (
    '{"traceId":"5982fe77008310cc","parentId":"5982fe77008310cc","id":"bd7a977555f6b982","kind":"SERVER",'
    '"name":"get /api","timestamp":1502787600005000,"duration":9000,'
    '"localEndpoint":{"serviceName":"backend","ipv4":"172.17.0.9","port":9000},'
    '"remoteEndpoint":{"ipv4":"172.17.0.13","port":58648},"tags":{"http.method":"GET","http.path":"/api","error":"500"},'
    '"annotations":[{"timestamp":1502787600006000,"value":"cache.miss"}],"shared":true}'
)

# A trace as Jaeger's UI and query API give it (their documentation; ids of other widths, both kinds of reference).
JAEGER_EXPORT = (
    '{"data":[{"traceID":"463ac35c9f6413ad","spans":['
    '{"traceID":"463ac35c9f6413ad","spanID":"a2fb4a1d1a96d312","flags":1,"operationName":"/orders.Orders/Place",'
    '"references":[],"startTime":1655753768508581,"duration":11840,"tags":['
    '{"key":"span.kind","type":"string","value":"client"},{"key":"component","type":"string","value":"gRPC"},'
    '{"key":"peer.port","type":"int64","value":50051},{"key":"peer.hostname","type":"string","value":"Orders.shop.svc"}'
    '],"logs":[{"timestamp":1655753768508600,"fields":[{"key":"event","type":"string","value":"retry"},'
    '{"key":"n","type":"int64","value":2}]}],"processID":"p1","warnings":null},'
    '{"traceID":"463ac35c9f6413ad","spanID":"2fb4a1d1a96d312","operationName":"/orders.Orders/Place",'
    '"references":[{"refType":"FOLLOWS_FROM","traceID":"463ac35c9f6413ad","spanID":"1"},'
    '{"refType":"CHILD_OF","traceID":"463ac35c9f6413ad","spanID":"a2fb4a1d1a96d312"}],'
    '"startTime":1655753768509000,"duration":10000,"tags":[{"key":"span.kind","type":"string","value":"server"},'
    '{"key":"error","type":"bool","value":true}],"logs":[],"processID":"p2"}'
    '],"processes":{"p1":{"serviceName":"frontend","tags":[{"key":"k8s.namespace.name","type":"string","value":"shop"}]},'
    '"p2":{"serviceName":"orders","tags":[]}},"warnings":null}],"total":0,"limit":0,"offset":0,"errors":null}'
)
