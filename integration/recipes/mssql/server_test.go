package mssql_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"unicode/utf16"
)

// The types of messages, options and tokens of TDS that a server needs. The numbers in parentheses are sections of
// [MS-TDS], https://learn.microsoft.com/openspecs/windows_protocols/ms-tds.
const (
	messageBatch    = 0x01 // (2.2.3.1.1)
	messageResponse = 0x04
	messageLogin    = 0x10
	messagePrelogin = 0x12

	statusEndOfMessage = 0x01 // (2.2.3.1.2)

	preloginEncryption      = 0x01 // (2.2.6.5)
	preloginFedAuthRequired = 0x06
	preloginTerminator      = 0xFF
	encryptNotSupported     = 0x02

	loginFixedLength     = 94 // (2.2.6.4)
	loginExtensionOffset = 56
	featureFedAuth       = 0x02
	featureTerminator    = 0xFF
	fedAuthToken         = 0x01<<1 | 1 // a security token, and the echo of preloginFedAuthRequired

	tokenColumns       = 0x81 // (2.2.7.4)
	tokenLoginAck      = 0xAD // (2.2.7.14)
	tokenFeatureExtAck = 0xAE // (2.2.7.11)
	tokenRow           = 0xD1 // (2.2.7.19)
	tokenDone          = 0xFD // (2.2.7.6)
	typeInt4           = 0x38 // (2.2.5.4.1)
)

// A server speaks as much of TDS as a login with a token needs. It responds to every query with the index of the
// connection, in order of login.
type server struct {
	addr string

	mu     sync.Mutex // guards tokens
	tokens []string   // of the connections, in order
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	s := &server{addr: l.Addr().String()}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("TDS server: %v", err)
				}
			})
		}
	})
	return s
}

func (s *server) token(connection int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[connection]
}

func (s *server) serve(conn io.ReadWriter) error {
	if _, err := readMessage(conn, messagePrelogin); err != nil {
		return err
	}
	// Two options with offset and length, the terminator, and the values.
	if err := writeMessage(conn, []byte{
		preloginEncryption, 0, 11, 0, 1, preloginFedAuthRequired, 0, 12, 0, 1, preloginTerminator,
		encryptNotSupported, 1,
	}); err != nil {
		return err
	}
	login, err := readMessage(conn, messageLogin)
	if err != nil {
		return err
	}
	token, err := loginToken(login)
	if err != nil {
		return err
	}
	s.mu.Lock()
	connection := len(s.tokens)
	s.tokens = append(s.tokens, token)
	s.mu.Unlock()
	ack := []byte{
		tokenLoginAck, 10, 0, 1, 0x74, 0, 0, 4, 0, 16, 0, 0, 0, // of TDS 7.4, with an empty name
		tokenFeatureExtAck, featureFedAuth, 0, 0, 0, 0, featureTerminator,
	}
	if err := writeMessage(conn, append(ack, done()...)); err != nil {
		return err
	}
	for {
		if _, err := readMessage(conn, messageBatch); err != nil {
			return err
		}
		rows := []byte{tokenColumns, 1, 0, 0, 0, 0, 0, 0, 0, typeInt4, 0, tokenRow} // a column without a name
		rows = binary.LittleEndian.AppendUint32(rows, uint32(connection))
		if err := writeMessage(conn, append(rows, done()...)); err != nil {
			return err
		}
	}
}

// loginToken returns the token in the extension FEDAUTH of a LOGIN7 message (2.2.6.4).
func loginToken(login []byte) (string, error) {
	if len(login) < loginFixedLength {
		return "", fmt.Errorf("got a login of %d bytes", len(login))
	}
	extension := binary.LittleEndian.Uint16(login[loginExtensionOffset:])
	features := bytes.NewReader(login[binary.LittleEndian.Uint32(login[extension:]):])
	for {
		feature, err := features.ReadByte()
		if err != nil {
			return "", err
		}
		if feature == featureTerminator {
			return "", errors.New("got a login without a token")
		}
		var size uint32
		if err := binary.Read(features, binary.LittleEndian, &size); err != nil {
			return "", err
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(features, data); err != nil {
			return "", err
		}
		if feature != featureFedAuth {
			continue
		}
		if len(data) < 5 || data[0] != fedAuthToken || int(binary.LittleEndian.Uint32(data[1:])) != len(data)-5 {
			return "", fmt.Errorf("got %d bytes of federated authentication that have no security token", size)
		}
		text := make([]uint16, (len(data)-5)/2)
		if err := binary.Read(bytes.NewReader(data[5:]), binary.LittleEndian, text); err != nil {
			return "", err
		}
		return string(utf16.Decode(text)), nil
	}
}

// readMessage returns the body of a message, which can have several packets (2.2.3).
func readMessage(r io.Reader, want byte) ([]byte, error) {
	var message []byte
	for {
		header := make([]byte, 8)
		if _, err := io.ReadFull(r, header); err != nil {
			return nil, err
		}
		if header[0] != want {
			return nil, fmt.Errorf("got a message of type %#x, want %#x", header[0], want)
		}
		body := make([]byte, max(8, binary.BigEndian.Uint16(header[2:]))-8)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		message = append(message, body...)
		if header[1]&statusEndOfMessage != 0 {
			return message, nil
		}
	}
}

// writeMessage writes a response in one packet.
func writeMessage(w io.Writer, body []byte) error {
	packet := []byte{messageResponse, statusEndOfMessage}
	packet = binary.BigEndian.AppendUint16(packet, uint16(8+len(body)))
	packet = append(packet, 0, 0, 1, 0)
	_, err := w.Write(append(packet, body...))
	return err
}

// done returns the token DONE for a response that is complete.
func done() []byte { return append([]byte{tokenDone}, make([]byte, 12)...) }
