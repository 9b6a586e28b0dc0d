"""Requests that an HTTP server must refuse: each could be read differently by two servers in a row, or
is none at all. The classes are those of RFC 9112 (sections 2.2, 3, 5, 6, 7, 9.6) and RFC 9110 (5.5, 5.6)."""

OK_BODY = b'{"text":"hello"}'
SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines, body=OK_BODY, length=True, line=b"POST /v1/predict HTTP/1.1", host=True):
    head = [line]
    if host:
        head.append(b"Host: localhost")
    head += lines
    if length:
        head.append(b"Content-Length: " + str(len(body)).encode())
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def vectors():
    """Pairs (name, bytes)."""
    found = []

    def add(name, data):
        found.append((name, data))

    # Content-Length in any spelling but plain digits, or more than one.
    for name, value in {
            "plus": b"+16", "minus": b"-16", "hex": b"0x10", "hex digits": b"1A", "octal": b"0o20", "list": b"16,16",
            "list with space": b"16, 16", "different list": b"16, 0", "empty": b"", "space inside": b"1 6",
            "tab inside": b"1\t6", "fraction": b"16.0", "exponent": b"1e1", "underscore": b"1_6", "quoted": b'"16"',
            "word": b"sixteen", "trailing comma": b"16,", "leading comma": b",16", "semicolon": b"16;16",
            "2**64": b"18446744073709551616", "2**64 + 16": b"18446744073709551632", "2**63": b"9223372036854775808",
            "a hundred nines": b"9" * 100, "arabic digits": "\u0661\u0666".encode(), "nbsp": b"\xa016",
            "vertical tab": b"\x0b16", "form feed": b"16\x0c", "nul behind": b"16\x00", "del": b"16\x7f",
            "carriage return": b"16\r", "comment": b"16 (bytes)"}.items():
        add(f"Content-Length {name}", post(b"Content-Length: " + value, length=False) + SMUGGLED)
    for name, first, second in (("equal", b"16", b"16"), ("shorter first", b"0", b"16"), ("longer first", b"16", b"0"),
                                ("zeros", b"016", b"16"), ("one empty", b"", b"16")):
        add(f"two Content-Lengths, {name}",
            post(b"Content-Length: " + first, b"Content-Length: " + second, length=False) + SMUGGLED)
    add("two Content-Lengths in two cases", post(b"content-length: 16", b"CONTENT-LENGTH: 16", length=False))

    # Transfer-Encoding in any spelling, with and without a Content-Length.
    chunked = b"10\r\n" + OK_BODY + b"\r\n0\r\n\r\n"
    codings = {
        "chunked": b"chunked", "in capitals": b"CHUNKED", "identity": b"identity", "gzip": b"gzip",
        "gzip, chunked": b"gzip, chunked", "chunked, gzip": b"chunked, gzip", "twice": b"chunked, chunked",
        "quoted": b'"chunked"', "with parameter": b"chunked;a=b", "unknown": b"xchunked", "cut": b"chunke",
        "comma first": b", chunked", "comma last": b"chunked,", "tab": b"\tchunked", "vertical tab": b"\x0bchunked",
        "nul": b"chunked\x00", "empty": b"", "trailing word": b"chunked x", "space inside": b"chun ked",
        "identity, chunked": b"identity, chunked", "form feed": b"chunked\x0c"}
    for name, value in codings.items():
        add(f"Transfer-Encoding {name}",
            post(b"Transfer-Encoding: " + value, body=chunked, length=False) + SMUGGLED)
        add(f"Transfer-Encoding {name} and Content-Length",
            post(b"Transfer-Encoding: " + value, b"Content-Length: 4", body=chunked, length=False) + SMUGGLED)
    add("Content-Length before Transfer-Encoding",
        post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=chunked, length=False))
    add("two Transfer-Encodings", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=chunked, length=False))
    add("chunked in HTTP/1.0", post(b"Transfer-Encoding: chunked", body=chunked, length=False, line=b"POST /v1/predict HTTP/1.0"))
    for name, size_line in {"extension": b"10;a=b", "bare LF": b"10\n", "bad extension": b"10;\x00", "huge": b"F" * 17,
                            "negative": b"-1", "prefix": b"0x10", "space": b"10 ", "plus": b"+10"}.items():
        add(f"chunk size with {name}",
            post(b"Transfer-Encoding: chunked", body=size_line + b"\r\n" + OK_BODY + b"\r\n0\r\n\r\n", length=False))

    # Names, values and lines.
    for name, line in {
            "space before colon": b"Content-Type : a", "tab before colon": b"Content-Type\t: a", "no colon": b"Content-Type",
            "empty name": b": a", "space in name": b"Content Type: a", "nul in name": b"Con\x00tent: a", "nul in value": b"A: b\x00c",
            "colon first": b":a: b", "bell in value": b"A: \x07", "del in value": b"A: \x7f", "bracket in name": b"A[]: b",
            "slash in name": b"A/b: c", "bytes above ASCII in name": b"\xc3\xa9: c", "quote in name": b'"A": c',
            "at in name": b"a@b: c", "comma in name": b"a,b: c", "escape in value": b"A: \x1b[0m"}.items():
        add(f"header with {name}", post(line))
    add("folded header", post(b"A: b\r\n c: d"))
    add("folded header by tab", post(b"A: b\r\n\tc"))
    add("folded first header", post(b" A: b", host=False))
    add("folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked", body=chunked, length=False))
    add("folded Content-Length", post(b"Content-Length:\r\n 16", length=False))
    add("bare LF behind a header", post(b"A: b\nC: d"))
    add("bare CR in a header", post(b"A: b\rC: d"))
    add("bare CR before Content-Length", post(b"A: b\rContent-Length: 0"))
    add("LF alone everywhere", post().replace(b"\r\n", b"\n"))
    add("LF alone at the end of the head", b"GET /v2 HTTP/1.1\r\nHost: x\r\n\n")
    add("CR CR LF", b"GET /v2 HTTP/1.1\r\r\nHost: x\r\n\r\n")
    add("LF CR", b"GET /v2 HTTP/1.1\n\rHost: x\n\r\n\r")

    # Host.
    add("no Host", b"GET /v2 HTTP/1.1\r\n\r\n")
    add("two Hosts", post(b"Host: other"))
    add("Host with a path", b"GET /v2 HTTP/1.1\r\nHost: a/b\r\n\r\n")
    add("Host with a user", b"GET /v2 HTTP/1.1\r\nHost: a@b\r\n\r\n")
    add("Host with a space", b"GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n")
    add("Host with a comma", b"GET /v2 HTTP/1.1\r\nHost: a, b\r\n\r\n".replace(b", ", b"#"))

    # Request lines.
    for name, line in {
            "no version": b"GET /v2", "HTTP/0.9": b"GET /v2 HTTP/0.9", "HTTP/2.0": b"GET /v2 HTTP/2.0", "HTTP/1.2": b"GET /v2 HTTP/1.2",
            "HTTP/1.10": b"GET /v2 HTTP/1.10", "lower case version": b"GET /v2 http/1.1", "word version": b"GET /v2 HTTPS/1.1",
            "two spaces": b"GET  /v2 HTTP/1.1", "two spaces at the version": b"GET /v2  HTTP/1.1", "tab": b"GET\t/v2\tHTTP/1.1",
            "trailing space": b"GET /v2 HTTP/1.1 ", "leading space": b" GET /v2 HTTP/1.1", "space in target": b"GET /v2 x HTTP/1.1",
            "absolute target": b"GET http://x/v2 HTTP/1.1", "authority target": b"CONNECT x:80 HTTP/1.1", "star": b"OPTIONS * HTTP/1.1",
            "no slash": b"GET v2 HTTP/1.1", "fragment": b"GET /v2#a HTTP/1.1", "nul in target": b"GET /v\x002 HTTP/1.1",
            "byte above ASCII in target": b"GET /v\xff HTTP/1.1", "control in target": b"GET /v\x01 HTTP/1.1", "bad method": b"G(T /v2 HTTP/1.1",
            "method with nul": b"GE\x00T /v2 HTTP/1.1", "no method": b"/v2 HTTP/1.1", "long method": b"A" * 40 + b" /v2 HTTP/1.1",
            "empty": b"", "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/2 preface": b"PRI * HTTP/2.0"}.items():
        add(f"request line: {name}", line + b"\r\nHost: x\r\n\r\n")

    # Sizes.
    add("long target", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    add("long header", post(b"A: " + b"b" * 9000))
    add("long header name", post(b"A" * 9000 + b": b"))
    add("endless header", b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20000)
    add("101 headers", post(*[b"A%d: b" % i for i in range(101)]))
    add("body beyond the limit", post(b"Content-Length: 2097153", length=False))
    add("body far beyond the limit", post(b"Content-Length: 999999999999", length=False))
    add("unknown expectation", post(b"Expect: 200-ok"))
    return found
