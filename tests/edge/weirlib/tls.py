# SPDX-License-Identifier: MIT
"""Certificates made by the openssl command, and connections that speak TLS as a test likes."""
import os
import re
import socket
import ssl
import subprocess
import threading

from .util import remove_dir, run_dir


def openssl(*args, data=None, timeout=20):
    return subprocess.run(["openssl", *map(str, args)], input=data, capture_output=True, timeout=timeout)


class Made:
    """A certificate and its key, as files."""

    def __init__(self, pem, key, chain=""):
        self.pem, self.key, self.chain = pem, key, chain

    @property
    def yaml(self):
        return {"certificate": self.pem, "key": self.key}


class Authority:
    """A CA in a folder of its own, that signs what it is asked to."""

    def __init__(self, kind="EC"):
        self.dir = run_dir("ca")
        self.n = 0
        self.key, self.pem = self.path("ca.key"), self.path("ca.pem")
        self._run("req", "-x509", "-newkey", *_kind(kind), "-nodes", "-keyout", self.key, "-out", self.pem, "-days", 30,
                  "-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE")
        os.chmod(self.key, 0o644)

    def path(self, name):
        return os.path.join(self.dir, name)

    def _run(self, *args):
        run = openssl(*args)
        assert run.returncode == 0, run.stderr.decode()

    def issue(self, *names, kind="EC", days=30, name=None):
        """names: of hosts, or addresses. days < 0: one that has expired."""
        self.n += 1
        base = self.path(name or "leaf%d" % self.n)
        made = Made(base + ".pem", base + ".key")
        san = ",".join(("IP:" if re.fullmatch(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:]*", n) else "DNS:") + n for n in names)
        self._run("req", "-new", "-newkey", *_kind(kind), "-nodes", "-keyout", made.key, "-out", base + ".csr",
                  "-subj", "/CN=leaf %d" % self.n)
        with open(base + ".ext", "w") as f:
            f.write("basicConstraints=CA:FALSE\n" + ("subjectAltName=%s\n" % san if san else ""))
        if days >= 0:
            self._run("x509", "-req", "-in", base + ".csr", "-CA", self.pem, "-CAkey", self.key, "-set_serial",
                      1000 + self.n, "-days", days, "-extfile", base + ".ext", "-out", made.pem)
        else:
            self._expired(base, made)
        os.chmod(made.key, 0o644)
        return made

    def _expired(self, base, made):
        with open(base + ".cnf", "w") as f:
            f.write("[ca]\ndefault_ca=c\n[c]\ndatabase=%s.db\nserial=%s.srl\nnew_certs_dir=%s\ndefault_md=sha256\n"
                    "policy=p\n[p]\ncommonName=supplied\n" % (base, base, self.dir))
        open(base + ".db", "w").close()
        with open(base + ".srl", "w") as f:
            f.write("%04x\n" % (1000 + self.n))
        self._run("ca", "-batch", "-config", base + ".cnf", "-cert", self.pem, "-keyfile", self.key, "-in", base + ".csr",
                  "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile", base + ".ext", "-notext",
                  "-out", made.pem)

    def close(self):
        remove_dir(self.dir)
        return ""


def _kind(kind):
    return {"EC": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "RSA": ["rsa:2048"],
            "RSA-PSS": ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]}[kind]


def context(authority=None, alpn=None, version=None, ciphers=None):
    """A client's, that trusts this authority, or anybody."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        ctx.load_verify_locations(authority.pem)
    else:
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols(alpn)
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    if ciphers:
        ctx.set_ciphers(ciphers)
    return ctx


def server_context(made, client_ca=None, version=None, alpn=None):
    """A server's: for origins. client_ca: a certificate of this authority is asked for."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(made.pem, made.key)
    if client_ca:
        ctx.load_verify_locations(client_ca.pem)
        ctx.verify_mode = ssl.CERT_REQUIRED
    if version:
        ctx.minimum_version = ctx.maximum_version = version
    if alpn:
        ctx.set_alpn_protocols(alpn)
    return ctx


def connect(port, ctx, name="a.example", addr="127.0.0.1", session=None, source=None, timeout=10, first=b""):
    """A connection that has shaken hands. `first` goes before it, as a PROXY header does."""
    sock = socket.create_connection((addr, port), timeout, (source, 0) if source else None)
    try:
        sock.sendall(first)
        return ctx.wrap_socket(sock, server_hostname=name, session=session, suppress_ragged_eofs=False)
    except (OSError, ValueError):
        sock.close()
        raise


def s_client(port, *args, data=b"", timeout=20):
    """What `openssl s_client` prints, both streams."""
    run = openssl("s_client", "-connect", "127.0.0.1:%d" % port, *args, data=data, timeout=timeout)
    return (run.stdout + run.stderr).decode(errors="replace")


class Channel:
    """TLS over a socket, for a reader and a writer in threads of their own, and with half-closes: in place of the socket."""

    def __init__(self, sock, ctx, name=None):
        self.sock, self.lock, self.sending = sock, threading.Lock(), threading.Lock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.obj = ctx.wrap_bio(self.incoming, self.outgoing, server_side=name is None, server_hostname=name)
        self._until(self.obj.do_handshake)

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def _flush(self):
        with self.sending:
            with self.lock:
                data = self.outgoing.read()
            if data:
                self.sock.sendall(data)

    def _until(self, step):
        while True:
            with self.lock:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = self
                except ssl.SSLZeroReturnError:
                    result = b""
            self._flush()
            if result is not self:
                return result
            data = self.sock.recv(65536)
            with self.lock:
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def seal(self, data):
        """The bytes that would be sent."""
        with self.lock:
            self.obj.write(data)
            return self.outgoing.read()

    def recv(self, n=65536):
        return self._until(lambda: self.obj.read(n))

    def sendall(self, data):
        for i in range(0, len(data), 65536):
            with self.lock:
                self.obj.write(data[i:i + 65536])
            self._flush()

    def send(self, data):
        self.sendall(data)
        return len(data)

    def shutdown(self, how):
        """Says goodbye, so that the other side knows the end from a cut."""
        with self.lock:
            try:
                self.obj.unwrap()
            except ssl.SSLError:
                pass
        self._flush()
        self.sock.shutdown(how)
