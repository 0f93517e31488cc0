"""A hub to download from in tests: python3 hub_server.py ROOT MODE; prints its port.

Serves ROOT/<path> for /datasets/<path with /resolve/main/ left out>. MODE: plain; redirect (as the
hub does for large files, with X-Linked-*), cut (the first answer stops half way), norange (no
partial answers), damaged (one byte changed), private (asks for the token "secret").
"""

import hashlib
import http.server
import os
import sys

root, mode = sys.argv[1], sys.argv[2]
cut_done = False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        global cut_done
        path = self.path.replace("/resolve/main/", "/").removeprefix("/cdn").removeprefix("/datasets")
        if mode == "private" and self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401, {})
        if mode == "redirect" and not self.path.startswith("/cdn") and os.path.exists(root + path):
            body = open(root + path, "rb").read()
            return self.answer(302, {"Location": "/cdn" + path, "X-Linked-Size": str(len(body)),
                                     "X-Linked-Etag": '"%s"' % hashlib.sha256(body).hexdigest()})
        if not os.path.isfile(root + path):
            return self.answer(404, {})
        body = open(root + path, "rb").read()
        headers, status = {}, 200
        if mode == "damaged":
            headers["X-Linked-Etag"] = '"%s"' % hashlib.sha256(body).hexdigest()
            body = body[:-1] + bytes([body[-1] ^ 1])
        wanted = self.headers.get("Range")
        if wanted and mode != "norange":
            start = int(wanted.split("=")[1].split("-")[0])
            if start >= len(body):
                return self.answer(416, {"Content-Range": "bytes */%d" % len(body)})
            status = 206
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, len(body) - 1, len(body))
            body = body[start:]
        if mode in ("cut", "norange") and not cut_done:
            cut_done = True
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.answer(status, headers, body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
