"""A client of Sluice for crawlers in Python: one file, without dependencies, for Python 3.9 and later. Copy it.

    from sluice_client import SluiceClient

    with SluiceClient("/run/sluice/sluice.sock", crawler_id="crawler-1") as client:
        client.publish("job_progress", {"stage": "fetching", "entityType": "issue", "processed": 5}, job_id="job-1")
        job = client.next_message(timeout=30)

Messages are kept until the broker confirms that it has read and checked them, or, if it has a durable log, that they are
on its disk. They are sent again after a reconnect: at least once, in order; exactly once with a durable log. `publish` waits
while too many bytes are unconfirmed. All methods may be called from any thread.
"""

import collections
import json
import queue
import random
import selectors
import socket
import ssl
import threading
import time
import uuid
from datetime import datetime, timezone

# A ping asks for a confirmation after this many bytes, or this many seconds.
CONFIRM_BYTES = 64 * 1024
CONFIRM_DELAY = 0.02
# Without anything from the broker for this many seconds, the client pings it; after as many more, it reconnects.
SILENCE = 15.0
CONNECT_TIMEOUT = 10.0
RETRY_DELAYS = (0.1, 10.0)
READ_SIZE = 256 * 1024
WRITE_SIZE = 256 * 1024
# Errors that wait for `on_rejected`: more are only counted.
MAX_WAITING_ERRORS = 1000
# How often the client checks what else is due, in seconds.
POLL_INTERVAL = 0.5
# Fatal errors: reconnecting would not help.
FATAL = {"REPLACED", "UNAUTHORIZED", "UNSUPPORTED_VERSION"}
# Errors of the connection, not of one message.
OF_CONNECTION = FATAL | {"SHUTTING_DOWN", "MAX_CONNECTIONS", "SLOW_CONSUMER", "LOG_UNAVAILABLE"}


class SluiceError(Exception):
    """The broker does not accept the client. `code` is one of its error codes, such as `UNAUTHORIZED`."""

    def __init__(self, code, message=""):
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code


class SluiceClient:
    """A connection to a broker that is made again whenever it is lost.

    address: path of the broker's Unix socket, or a tuple (host, port).
    crawler_id: identifies this crawler over its connections. Default: none.
    token: if the broker requires one.
    ssl_context: encrypts a TCP connection (ssl.create_default_context()). Default: not encrypted.
    heartbeat: returns the data of a heartbeat, which the client then sends regularly. Called on the thread that sends, so it
        must not publish. Default: none are sent.
    on_rejected: called with the data of each error, such as
        {"code": "SCHEMA_VIOLATION", "messageType": "job_progress", "issues": [...]}. It has a thread of its own: it may
        publish, and `flush` does not wait for it. `unreported` counts the errors that it was too slow for. Default: errors
        are only counted.
    max_unconfirmed: bytes of messages that wait for the broker, above which `publish` waits.
    max_received: messages that wait for `next_message`, above which the client reads no more until some are taken: then
        nothing is confirmed either.
    """

    def __init__(
        self,
        address,
        *,
        crawler_id=None,
        token=None,
        ssl_context=None,
        heartbeat=None,
        on_rejected=None,
        max_unconfirmed=16 * 1024 * 1024,
        max_received=10_000,
    ):
        self.rejected = 0
        self.unreported = 0
        self.resent = 0
        self.connections = 0
        self.welcome = None
        self._address = address
        self._ssl_context = ssl_context
        self._heartbeat = heartbeat
        self._on_rejected = on_rejected
        self._max_unconfirmed = max_unconfirmed
        # Its last element is None, when the client has ended.
        self._received = queue.Queue()
        self._max_received = max_received
        # For on_rejected. Its last element is None.
        self._errors = queue.Queue()
        # The broker counts the messages of a session, so that it can tell a new connection what it has.
        self._hello = {"role": "crawler", "session": str(uuid.uuid4())}
        if crawler_id is not None:
            self._hello["crawlerId"] = crawler_id
        if token is not None:
            self._hello["token"] = token
        # Guards everything below, and is notified when messages are confirmed.
        self._changed = threading.Condition()
        # Messages that are not confirmed: those that were written to a connection, and those that follow.
        self._sent = collections.deque()
        self._unsent = collections.deque()
        self._unconfirmed_bytes = 0
        # How many messages were confirmed before them.
        self._confirmed = 0
        # Number of messages of the session that were decided before the first of them; None if the broker does not say.
        self._session_line = 0
        # When the broker has accepted the connection; None if it has not.
        self._welcomed_at = None
        self._is_ending = False
        self._is_closing = False
        self._failure = None
        # Wakes the thread that waits for the socket.
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._threads = [threading.Thread(target=self._run, name="sluice", daemon=True)]
        if on_rejected is not None:
            self._threads.append(threading.Thread(target=self._report, name="sluice-rejected", daemon=True))
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def publish(self, type, data=None, *, job_id=None, timeout=None, **envelope):
        """Publishes a message. Waits while too many bytes are unconfirmed, for at most `timeout` seconds.

        Members that are None are left out: the broker rejects null where a value is optional. Raises ValueError for NaN
        and infinity, which are not JSON, and for a message that is longer than the broker accepts; TimeoutError;
        SluiceError if the broker does not accept the client.
        """
        message = {"type": type, "timestamp": _now(), **envelope}
        if job_id is not None:
            message["jobId"] = job_id
        message["data"] = _without_none(data or {})
        line = _line(message)
        limit = (self.welcome or {}).get("maxMessageSize")
        if limit is not None and len(line) - 1 > limit:
            raise ValueError(f"the message has {len(line) - 1} bytes, of at most {limit}")
        deadline = _deadline(timeout)
        with self._changed:
            while self._unconfirmed_bytes > 0 and self._unconfirmed_bytes + len(line) > self._max_unconfirmed:
                self._wait(deadline)
            self._require_open()
            self._add(line)
        self._wake()

    def flush(self, timeout=None):
        """Waits until the broker has confirmed everything published so far. Raises TimeoutError, SluiceError."""
        deadline = _deadline(timeout)
        with self._changed:
            # Nothing can be published to a client that the broker has rejected, and nothing was confirmed.
            self._require_open()
            end = self._confirmed + len(self._sent) + len(self._unsent)
            while self._confirmed < end:
                self._wait(deadline)

    def next_message(self, timeout=None):
        """The next message that was sent to this crawler, such as a `job_assignment`.

        Raises TimeoutError; when the client has ended, and all messages were taken, SluiceError, or what a callback raised.
        """
        try:
            message = self._received.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError("no message arrived") from None
        if message is None:
            # For other threads.
            self._received.put(None)
            with self._changed:
                self._require_open()
        self._wake()
        return message

    def close(self, timeout=10.0):
        """Waits until everything is confirmed, and disconnects. Returns the number of messages that are not confirmed.

        After `timeout` seconds, it returns even if the broker does not answer, or a callback has not returned.
        """
        deadline = _deadline(timeout)
        with self._changed:
            # No more heartbeats: they would follow those that are waited for.
            self._is_ending = True
        try:
            self.flush(timeout)
        except Exception:
            pass  # The timeout has passed, or the client has ended.
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._wake()
        # A callback may call this: no thread can wait for itself, and on_rejected may wait for the one that sends.
        current = threading.current_thread()
        if current is not self._threads[0]:
            for thread in self._threads:
                if thread is not current:
                    thread.join(_remaining(deadline))
        with self._changed:
            return len(self._sent) + len(self._unsent)

    # The rest runs with the lock, or on the client's own thread.

    def _wait(self, deadline):
        self._require_open()
        if not self._changed.wait(_remaining(deadline)):
            raise TimeoutError("the broker has not confirmed in time")

    def _require_open(self):
        if self._failure is not None:
            raise self._failure
        if self._is_closing:
            raise SluiceError("CONNECTION_CLOSED")

    def _add(self, line):
        self._unsent.append(line)
        self._unconfirmed_bytes += len(line)

    def _confirm(self, count):
        for _ in range(count):
            self._unconfirmed_bytes -= len(self._sent.popleft())
        self._confirmed += count
        self._changed.notify_all()

    def _wake(self):
        try:
            self._wake_writer.send(b"\0")
        except OSError:
            pass  # It has been woken already, or has ended.

    def _run(self):
        attempt = 0
        try:
            while not self._is_closing:
                try:
                    with self._connect() as connection:
                        _Session(self, connection).serve()
                except SluiceError as error:
                    if error.code in FATAL:
                        return self._fail(error)
                except OSError:
                    pass
                # A broker that accepts a connection and closes it at once is not back yet.
                if self._welcomed_at is not None and time.monotonic() - self._welcomed_at >= RETRY_DELAYS[1]:
                    attempt = 0
                self._welcomed_at = None
                # Half of the delay is random, so that not all crawlers return at once.
                delay = min(RETRY_DELAYS[1], RETRY_DELAYS[0] * 2**attempt)
                attempt = min(attempt + 1, 10)
                with self._changed:
                    if not self._is_closing:
                        self._changed.wait(delay * random.uniform(0.5, 1))
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._wake_reader.close()
            self._received.put(None)
            self._errors.put(None)

    def _report(self):
        """Calls on_rejected. It may wait for confirmations, which the client's other thread reads."""
        try:
            while (error := self._errors.get()) is not None:
                self._on_rejected(error)
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error):
        """Ends the client."""
        with self._changed:
            if not self._is_closing:
                self._failure = error
            self._is_closing = True
            self._changed.notify_all()
        self._wake()

    def _connect(self):
        if isinstance(self._address, tuple):
            connection = socket.create_connection(self._address, timeout=CONNECT_TIMEOUT)
            if self._ssl_context is not None:
                connection = self._ssl_context.wrap_socket(connection, server_hostname=self._address[0])
            return connection
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(CONNECT_TIMEOUT)
        connection.connect(self._address)
        return connection

    def _on_welcome(self, welcome):
        """The messages that an earlier connection has written, and the broker has, are not sent again."""
        with self._changed:
            line = welcome.get("session", {}).get("line")
            if line is not None and self._session_line is not None:
                self._confirm(min(len(self._sent), max(0, line - self._session_line)))
            self._session_line = line
            self.resent += len(self._sent)
            self._unsent.extendleft(reversed(self._sent))
            self._sent.clear()
            self.welcome = welcome
            self.connections += 1
            self._welcomed_at = time.monotonic()

    def _on_pong(self, end, line):
        """Everything that was written before its ping is confirmed. end: number of those messages since the start."""
        with self._changed:
            self._confirm(max(0, end - self._confirmed))
            self._session_line = line

    def _take(self, size):
        """Messages to write, and their number since the start."""
        lines = []
        with self._changed:
            while size > 0 and self._unsent:
                lines.append(self._unsent.popleft())
                size -= len(lines[-1])
            self._sent.extend(lines)
            return b"".join(lines), self._confirmed + len(self._sent)


class _Session:
    """One connection."""

    def __init__(self, client, connection):
        self._client = client
        self._connection = connection
        self._partial = []
        self._to_write = b""
        # For each ping that is not answered: the number of messages before it.
        self._marks = collections.deque()
        self._unpinged = 0
        self._unpinged_since = 0.0
        self._end = 0
        self._is_encrypted = isinstance(connection, ssl.SSLSocket)
        self._heartbeat_at = None
        # Half of the interval in which the broker wants to hear something.
        self._interval = 0.0
        self._owes_pong = False
        self._pong_at = 0.0
        self._hear()

    def serve(self):
        """Sends and receives until the connection is lost. Raises OSError, SluiceError."""
        self._send_control("hello", self._client._hello)
        self._connection.sendall(self._to_write)
        self._to_write = b""
        deadline = time.monotonic() + CONNECT_TIMEOUT
        welcome = None
        while welcome is None:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            for message in self._read():
                if message["type"] == "welcome":
                    welcome = message["data"]
                else:
                    self._handle(message)
        self._client._on_welcome(welcome)
        self._interval = welcome["heartbeatInterval"] / 2000
        if self._client._heartbeat is not None:
            self._heartbeat_at = time.monotonic()
        self._connection.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._client._wake_reader, selectors.EVENT_READ)
            while not self._client._is_closing:
                self._turn(selector)

    def _turn(self, selector):
        now = time.monotonic()
        may_read = self._client._received.qsize() < self._client._max_received
        if not may_read and now >= self._pong_at:
            # The broker's pings are not read.
            self._pong_at = now + self._interval
            self._owes_pong = True
        self._send_due(now)
        if not self._to_write:
            self._to_write, self._end = self._client._take(WRITE_SIZE)
            if self._to_write and self._unpinged == 0:
                self._unpinged_since = now
            self._unpinged += len(self._to_write)
            if self._unpinged >= CONFIRM_BYTES:
                self._ping()
        events = (selectors.EVENT_WRITE if self._to_write else 0) | (selectors.EVENT_READ if may_read else 0)
        # TLS may have read more from the socket than was asked for.
        is_ready = may_read and self._is_encrypted and self._connection.pending() > 0
        if events:
            selector.register(self._connection, events)
        try:
            # A ping waits until what is before it is written.
            is_ping_next = self._unpinged > 0 and not self._to_write
            until_ping = self._unpinged_since + CONFIRM_DELAY - now if is_ping_next else POLL_INTERVAL
            ready = {key.fileobj: mask for key, mask in selector.select(0 if is_ready else max(0, until_ping))}
        finally:
            if events:
                selector.unregister(self._connection)
        if self._client._wake_reader in ready:
            self._client._wake_reader.recv(4096)
        mask = ready.get(self._connection, 0)
        if mask & selectors.EVENT_WRITE:
            self._write()
        if is_ready or mask & selectors.EVENT_READ:
            for message in self._read():
                self._handle(message)
        elif may_read:
            self._check_silence(now)
        else:
            # The broker may have sent something.
            self._hear()

    def _send_due(self, now):
        """Sends what is due: a ping for what was written, a pong, a heartbeat."""
        if self._unpinged > 0 and now >= self._unpinged_since + CONFIRM_DELAY and not self._to_write:
            self._ping()
        if self._owes_pong and not self._to_write:
            self._owes_pong = False
            self._send_control("pong")
        if self._heartbeat_at is not None and now >= self._heartbeat_at:
            self._heartbeat_at = now + self._interval
            heartbeat = {"type": "heartbeat", "timestamp": _now(), "data": self._client._heartbeat()}
            with self._client._changed:
                if not self._client._is_ending:
                    self._client._add(_line(heartbeat))

    def _hear(self):
        self._heard_at = time.monotonic()
        # When the broker was asked whether it is alive.
        self._asked_at = None

    def _check_silence(self, now):
        """Asks whether the broker is alive, or raises ConnectionError. Called when there is nothing to read."""
        if self._asked_at is not None:
            if now - self._asked_at > SILENCE:
                raise ConnectionError("the broker does not answer")
        elif now - self._heard_at > SILENCE:
            self._asked_at = time.monotonic()
            self._ping()

    def _ping(self):
        self._unpinged = 0
        self._marks.append(self._end)
        self._send_control("ping")

    def _send_control(self, type, data=None):
        message = {"type": type, "timestamp": _now()}
        if data is not None:
            message["data"] = data
        self._to_write += _line(message)

    def _write(self):
        try:
            sent = self._connection.send(self._to_write)
        except OSError as error:
            if _must_wait(error):
                return
            raise
        self._to_write = self._to_write[sent:]

    def _read(self):
        """The messages that have arrived."""
        try:
            received = self._connection.recv(READ_SIZE)
        except OSError as error:
            if _must_wait(error):
                return []
            raise
        if not received:
            raise ConnectionError("the broker has closed the connection")
        self._hear()
        *lines, rest = received.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._partial, lines[0]])
            self._partial = []
        if rest:
            self._partial.append(rest)
        return [json.loads(line) for line in lines if line]

    def _handle(self, message):
        type = message["type"]
        data = message.get("data") or {}
        if type == "pong":
            if self._marks:
                self._client._on_pong(self._marks.popleft(), data.get("line"))
        elif type == "ping":
            self._owes_pong = True
        elif type == "error":
            self._on_error(data)
        else:
            self._client._received.put(message)

    def _on_error(self, data):
        code = data.get("code", "")
        # With another type, it is about that message.
        if code in FATAL and data.get("messageType", "hello") == "hello":
            raise SluiceError(code, data.get("message", ""))
        if code in OF_CONNECTION:
            return
        self._client.rejected += 1
        if self._client._on_rejected is not None:
            if self._client._errors.qsize() < MAX_WAITING_ERRORS:
                self._client._errors.put(data)
            else:
                self._client.unreported += 1


def _must_wait(error):
    """Whether a socket is not ready, or TLS has no whole record yet."""
    return isinstance(error, (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError))


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(message):
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(member) for key, member in value.items() if member is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(member) for member in value]
    return value


def _deadline(timeout):
    return None if timeout is None else time.monotonic() + timeout


def _remaining(deadline):
    return None if deadline is None else max(0, deadline - time.monotonic())
