// Package sluice is a client of Sluice for crawlers in Go: one file, without dependencies. Copy it.
//
//	client := sluice.New("unix", "/run/sluice/sluice.sock", sluice.Options{CrawlerID: "crawler-1"})
//	defer client.Close(10 * time.Second)
//	err := client.Publish("job_progress", "job-1", map[string]any{"stage": "fetching", "entityType": "issue", "processed": 5})
//	job := <-client.Messages
//
// Messages are kept until the broker confirms that it has read and checked them, or, if it has a durable log, that they
// are on its disk. They are sent again after a reconnect: at least once, in order; exactly once with a durable log. Publish
// waits while too many bytes are unconfirmed. All methods may be called from any goroutine.
package sluice

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand"
	"net"
	"sync"
	"time"
)

const (
	// A ping asks for a confirmation after this many bytes, or this time.
	confirmBytes = 64 * 1024
	confirmDelay = 20 * time.Millisecond
	writeSize    = 256 * 1024
	// Without anything from the broker for this time, the client pings it; after as much more, it reconnects.
	silence        = 15 * time.Second
	connectTimeout = 10 * time.Second
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 10 * time.Second
	// How often the client checks what else is due.
	pollInterval = 500 * time.Millisecond
	// Errors that wait for OnRejected: more are only counted.
	maxWaitingErrors = 1000
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("sluice: the client is closed")

// ErrTimeout is returned if the broker has not confirmed in time.
var ErrTimeout = errors.New("sluice: the broker has not confirmed in time")

// Error is an answer of the broker, with one of its error codes, such as SCHEMA_VIOLATION or UNAUTHORIZED.
type Error struct {
	Code        string  `json:"code"`
	Message     string  `json:"message"`
	MessageType string  `json:"messageType"`
	Line        int64   `json:"line"`
	Issues      []Issue `json:"issues"`
}

// Issue says what is wrong with a rejected message.
type Issue struct {
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return "sluice: " + e.Code + ": " + e.Message }

// Whether the error is fatal: reconnecting would not help.
func (e *Error) isFatal() bool {
	return e.Code == "REPLACED" || e.Code == "UNAUTHORIZED" || e.Code == "UNSUPPORTED_VERSION"
}

// Whether it is an error of the connection, not of one message.
func (e *Error) isOfConnection() bool {
	switch e.Code {
	case "SHUTTING_DOWN", "MAX_CONNECTIONS", "SLOW_CONSUMER", "LOG_UNAVAILABLE":
		return true
	}
	return e.isFatal()
}

// Message is a message that was sent to this crawler, such as a job_assignment.
type Message struct {
	Type  string          `json:"type"`
	JobID string          `json:"jobId"`
	Data  json.RawMessage `json:"data"`
}

// Options of a client. All are optional.
type Options struct {
	// CrawlerID identifies this crawler over its connections.
	CrawlerID string
	// Token, if the broker requires one.
	Token string
	// TLS encrypts a TCP connection.
	TLS *tls.Config
	// Heartbeat returns the data of a heartbeat, which the client then sends regularly. It is called on the goroutine that
	// sends, so it must not publish.
	Heartbeat func() any
	// OnRejected is called with the reason for which a message was rejected. It has a goroutine of its own: it may publish,
	// and Flush does not wait for it. Statistics.Unreported counts the errors that it was too slow for. Close waits for it; a
	// Close in OnRejected itself returns after its timeout.
	OnRejected func(*Error)
	// MaxUnconfirmed is the number of bytes that may wait for the broker before Publish waits. Default: 16 MiB.
	MaxUnconfirmed int
	// MaxReceived is the capacity of Messages. While that is full, the client reads no more, so that nothing is confirmed
	// either. Default: 10,000.
	MaxReceived int
}

// Client is a connection to a broker that is made again whenever it is lost.
type Client struct {
	// Messages that were sent to this crawler. Closed when the client ends.
	Messages <-chan Message

	network, address string
	options          Options
	session          string
	received         chan Message
	// For OnRejected.
	rejected chan *Error
	ctx      context.Context
	cancel   context.CancelFunc
	done     chan struct{}
	wake     chan struct{}

	mutex sync.Mutex
	// Closed, and replaced, whenever messages are confirmed.
	changed chan struct{}
	// Messages that are not confirmed: those that were written to a connection, and those that follow.
	sent, unsent     [][]byte
	unconfirmedBytes int
	// How many messages were confirmed before them.
	confirmed int64
	// Number of messages of the session that were decided before the first of them; nil if the broker does not say.
	sessionLine *int64
	maxMessage  int
	statistics  Statistics
	failure     error
	// Whether it is about to end.
	ending bool
}

// Statistics of a client.
type Statistics struct {
	Confirmed, Rejected, Resent int64
	// Rejections that OnRejected was too slow for.
	Unreported  int64
	Connections int
	Unconfirmed int
}

// New creates a client, which connects at once, and again whenever the connection is lost.
// network is "unix" or "tcp"; address a path, or host:port.
func New(network, address string, options Options) *Client {
	if options.MaxUnconfirmed == 0 {
		options.MaxUnconfirmed = 16 << 20
	}
	if options.MaxReceived == 0 {
		options.MaxReceived = 10_000
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan Message, options.MaxReceived)
	client := &Client{
		Messages: received, received: received, network: network, address: address, options: options,
		// The broker counts the messages of a session, so that it can tell a new connection what it has.
		session: hex.EncodeToString(id), ctx: ctx, cancel: cancel, done: make(chan struct{}),
		wake: make(chan struct{}, 1), changed: make(chan struct{}), sessionLine: new(int64),
		rejected: make(chan *Error, maxWaitingErrors),
	}
	go client.run()
	go client.report()
	return client
}

// Publish publishes a message; jobID may be empty. It waits while too many bytes are unconfirmed.
func (c *Client) Publish(messageType, jobID string, data any) error {
	return c.PublishContext(context.Background(), messageType, jobID, data)
}

// PublishContext is like Publish, and returns the error of ctx if it ends before there is room.
func (c *Client) PublishContext(ctx context.Context, messageType, jobID string, data any) error {
	line, err := encode(envelope{Type: messageType, JobID: jobID, Data: data})
	if err != nil {
		return err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.maxMessage > 0 && len(line)-1 > c.maxMessage {
		return fmt.Errorf("sluice: the message has %d bytes, of at most %d", len(line)-1, c.maxMessage)
	}
	for c.unconfirmedBytes > 0 && c.unconfirmedBytes+len(line) > c.options.MaxUnconfirmed {
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
	if err := c.closed(); err != nil {
		return err
	}
	c.add(line)
	c.notify()
	return nil
}

// Flush waits until the broker has confirmed everything published so far.
func (c *Client) Flush(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	// Nothing can be published to a client that the broker has rejected, and nothing was confirmed.
	if err := c.closed(); err != nil {
		return err
	}
	for end := c.confirmed + int64(len(c.sent)+len(c.unsent)); c.confirmed < end; {
		if err := c.wait(ctx); errors.Is(err, context.DeadlineExceeded) {
			return ErrTimeout
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Close waits until everything is confirmed, and disconnects. It returns the number of messages that are not confirmed.
// After the timeout, it returns even if the broker reads nothing, or a function of the options has not returned.
func (c *Client) Close(timeout time.Duration) int {
	c.mutex.Lock()
	// No more heartbeats: they would follow those that are waited for.
	c.ending = true
	c.mutex.Unlock()
	deadline := time.Now().Add(timeout)
	_ = c.Flush(timeout)
	c.cancel()
	select {
	case <-c.done:
	case <-time.After(time.Until(deadline)):
	}
	return c.Statistics().Unconfirmed
}

// Statistics returns what has happened so far.
func (c *Client) Statistics() Statistics {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	statistics := c.statistics
	statistics.Confirmed = c.confirmed
	statistics.Unconfirmed = len(c.sent) + len(c.unsent)
	return statistics
}

// Err returns why the client has ended by itself, such as an *Error with the code UNAUTHORIZED, or the error of a heartbeat
// that cannot be encoded.
func (c *Client) Err() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.failure
}

type envelope struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	JobID     string `json:"jobId,omitempty"`
	Data      any    `json:"data,omitempty"`
}

func encode(message envelope) ([]byte, error) {
	message.Timestamp = time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	// Otherwise <, > and & would be escaped.
	encoder.SetEscapeHTML(false)
	// With its newline.
	err := encoder.Encode(message)
	return buffer.Bytes(), err
}

// The following methods are called with the mutex.

func (c *Client) wait(ctx context.Context) error {
	if err := c.closed(); err != nil {
		return err
	}
	changed := c.changed
	c.mutex.Unlock()
	defer c.mutex.Lock()
	select {
	case <-changed:
		return nil
	case <-c.ctx.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) closed() error {
	if c.failure != nil {
		return c.failure
	}
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	return nil
}

func (c *Client) add(line []byte) {
	c.unsent = append(c.unsent, line)
	c.unconfirmedBytes += len(line)
}

func (c *Client) confirm(count int) {
	for _, line := range c.sent[:count] {
		c.unconfirmedBytes -= len(line)
	}
	c.sent = c.sent[count:]
	c.confirmed += int64(count)
	c.broadcast()
}

func (c *Client) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Client) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Ends the client for a reason that a new connection would not change.
func (c *Client) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.ctx.Err() == nil {
		c.failure = err
		c.cancel()
	}
}

// Calls OnRejected until the client has ended. It may wait for confirmations, which another goroutine reads.
func (c *Client) report() {
	defer close(c.done)
	for answer := range c.rejected {
		c.options.OnRejected(answer)
	}
}

// Connects until the client ends.
func (c *Client) run() {
	defer close(c.rejected)
	defer close(c.received)
	for delay := firstRetry; c.ctx.Err() == nil; delay = shorter(2*delay, lastRetry) {
		// A broker that accepts a connection and closes it at once is not back yet.
		if c.serve() >= lastRetry {
			delay = firstRetry
		}
		select {
		// Half of the delay is random, so that not all crawlers return at once.
		case <-time.After(delay/2 + time.Duration(mathrand.Int63n(int64(delay/2)))):
		case <-c.ctx.Done():
		}
	}
}

func (c *Client) dial() (net.Conn, error) {
	dialer := &net.Dialer{Timeout: connectTimeout}
	if c.options.TLS != nil {
		return (&tls.Dialer{NetDialer: dialer, Config: c.options.TLS}).DialContext(c.ctx, c.network, c.address)
	}
	return dialer.DialContext(c.ctx, c.network, c.address)
}

type hello struct {
	Role      string `json:"role"`
	Session   string `json:"session"`
	CrawlerID string `json:"crawlerId,omitempty"`
	Token     string `json:"token,omitempty"`
}

type welcome struct {
	MaxMessageSize    int   `json:"maxMessageSize"`
	HeartbeatInterval int64 `json:"heartbeatInterval"`
	Session           *struct {
		Line int64 `json:"line"`
	} `json:"session"`
}

// Sends and receives on one connection until it is lost. Returns for how long, since the broker has welcomed the client.
func (c *Client) serve() time.Duration {
	connection, err := c.dial()
	if err != nil {
		return 0
	}
	defer connection.Close()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	go func() {
		<-ctx.Done()
		// Ends a read or write that waits.
		connection.Close()
	}()
	greeting, err := encode(envelope{
		Type: "hello",
		Data: hello{"crawler", c.session, c.options.CrawlerID, c.options.Token},
	})
	if err != nil {
		return 0
	}
	_ = connection.SetDeadline(time.Now().Add(connectTimeout))
	if _, err := connection.Write(greeting); err != nil {
		return 0
	}
	reader := bufio.NewReaderSize(connection, writeSize)
	current := &connectionState{client: c, connection: connection, ctx: ctx}
	var welcomed welcome
	for {
		message, err := readMessage(reader)
		if err != nil {
			return 0
		}
		if message.Type != "welcome" {
			if err := current.handle(message); err != nil {
				return 0
			}
			continue
		}
		if err := json.Unmarshal(message.Data, &welcomed); err != nil {
			return 0
		}
		break
	}
	_ = connection.SetDeadline(time.Time{})
	c.onWelcome(welcomed)
	welcomedAt := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		current.read(reader)
	}()
	current.write(time.Duration(welcomed.HeartbeatInterval) * time.Millisecond)
	cancel()
	// It sends to Messages, and confirms what this connection has written.
	<-ended
	return time.Since(welcomedAt)
}

func (c *Client) onWelcome(welcomed welcome) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var line *int64
	if welcomed.Session != nil {
		line = &welcomed.Session.Line
	}
	// What an earlier connection has written, and the broker has, is not sent again.
	if line != nil && c.sessionLine != nil && *line > *c.sessionLine {
		decided := *line - *c.sessionLine
		if sent := int64(len(c.sent)); decided > sent {
			decided = sent
		}
		c.confirm(int(decided))
	}
	c.sessionLine = line
	c.statistics.Resent += int64(len(c.sent))
	c.statistics.Connections++
	c.unsent = append(c.sent[:len(c.sent):len(c.sent)], c.unsent...)
	c.sent = nil
	c.maxMessage = welcomed.MaxMessageSize
}

// One connection.
type connectionState struct {
	client     *Client
	connection net.Conn
	// Ends when the connection is lost, or the client ends.
	ctx context.Context

	mutex sync.Mutex
	// For each ping that is not answered: the number of messages before it.
	marks []int64
	// Whether the broker waits for a pong.
	owesPong bool
	// When something was received.
	heardAt time.Time
}

// Reads until the connection or the client ends, and what has arrived before.
func (s *connectionState) read(reader *bufio.Reader) {
	for {
		_ = s.connection.SetReadDeadline(time.Now().Add(2 * silence))
		message, err := readMessage(reader)
		if err != nil || s.handle(message) != nil {
			return
		}
	}
}

// Writes what is published, until the connection or the client ends.
func (s *connectionState) write(heartbeatInterval time.Duration) {
	c := s.client
	var unpinged int
	var unpingedSince, heartbeatAt, pongAt time.Time
	s.hear()
	for {
		now := time.Now()
		if c.options.Heartbeat != nil && !now.Before(heartbeatAt) {
			heartbeatAt = now.Add(heartbeatInterval / 2)
			line, err := encode(envelope{Type: "heartbeat", Data: c.options.Heartbeat()})
			if err != nil {
				c.fail(err)
				return
			}
			c.mutex.Lock()
			if !c.ending {
				c.add(line)
			}
			c.mutex.Unlock()
		}
		out, end := c.take()
		if len(out) > 0 && unpinged == 0 {
			unpingedSince = now
		}
		unpinged += len(out)
		isSilent := s.isSilent(now)
		if unpinged >= confirmBytes || (unpinged > 0 && now.Sub(unpingedSince) >= confirmDelay) || isSilent {
			out = append(out, s.ping(end)...)
			unpinged = 0
		}
		// While Messages is full, the broker's pings are not read.
		isPongDue := len(c.received) == cap(c.received) && !now.Before(pongAt)
		if isPongDue {
			pongAt = now.Add(heartbeatInterval / 2)
		}
		out = append(out, s.pong(isPongDue)...)
		if len(out) > 0 {
			if _, err := s.connection.Write(out); err != nil {
				return
			}
			if len(out) >= writeSize {
				continue
			}
		}
		wait := pollInterval
		if unpinged > 0 {
			wait = time.Until(unpingedSince.Add(confirmDelay))
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// Messages to write, and their number since the start.
func (c *Client) take() ([]byte, int64) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	size, count := 0, 0
	for count < len(c.unsent) && size < writeSize {
		size += len(c.unsent[count])
		count++
	}
	out := bytes.Join(c.unsent[:count], nil)
	c.sent = append(c.sent, c.unsent[:count]...)
	c.unsent = c.unsent[count:]
	return out, c.confirmed + int64(len(c.sent))
}

func (s *connectionState) ping(end int64) []byte {
	s.mutex.Lock()
	s.marks = append(s.marks, end)
	s.mutex.Unlock()
	line, _ := encode(envelope{Type: "ping"})
	return line
}

func (s *connectionState) pong(isDue bool) []byte {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.owesPong && !isDue {
		return nil
	}
	s.owesPong = false
	line, _ := encode(envelope{Type: "pong"})
	return line
}

func (s *connectionState) hear() {
	s.mutex.Lock()
	s.heardAt = time.Now()
	s.mutex.Unlock()
}

// Whether the broker has to be asked if it is alive.
func (s *connectionState) isSilent(now time.Time) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.marks) == 0 && now.Sub(s.heardAt) > silence
}

func (s *connectionState) handle(message Message) error {
	c := s.client
	s.hear()
	switch message.Type {
	case "pong":
		s.mutex.Lock()
		if len(s.marks) == 0 {
			s.mutex.Unlock()
			return nil
		}
		end := s.marks[0]
		s.marks = s.marks[1:]
		s.mutex.Unlock()
		var data struct {
			Line *int64 `json:"line"`
		}
		if len(message.Data) > 0 {
			if err := json.Unmarshal(message.Data, &data); err != nil {
				return err
			}
		}
		// Everything that was written before its ping is confirmed.
		c.mutex.Lock()
		if end > c.confirmed {
			c.confirm(int(end - c.confirmed))
		}
		c.sessionLine = data.Line
		c.mutex.Unlock()
	case "ping":
		s.mutex.Lock()
		s.owesPong = true
		s.mutex.Unlock()
		c.notify()
	case "error":
		answer := new(Error)
		if err := json.Unmarshal(message.Data, answer); err != nil {
			return err
		}
		// With another type, it is about that message.
		if answer.isFatal() && (answer.MessageType == "" || answer.MessageType == "hello") {
			c.fail(answer)
			return answer
		}
		if answer.isOfConnection() {
			return nil
		}
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.statistics.Rejected++
		if c.options.OnRejected == nil {
			return nil
		}
		select {
		case c.rejected <- answer:
		default:
			c.statistics.Unreported++
		}
	default:
		select {
		case c.received <- message:
		default:
			select {
			case c.received <- message:
			case <-s.ctx.Done():
			}
		}
	}
	return nil
}

func shorter(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

// Reads a line of any length.
func readMessage(reader *bufio.Reader) (Message, error) {
	var message Message
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return message, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return message, json.Unmarshal(line, &message)
		}
	}
}
