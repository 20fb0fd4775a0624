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

	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
)

// The types of messages, options and tokens of TDS that a server needs, from MS-TDS
// (https://learn.microsoft.com/openspecs/windows_protocols/ms-tds). The comments have its names.
const (
	messageBatch     = 0x01 // SQL Batch
	messageResponse  = 0x04
	messageAttention = 0x06
	messageLogin     = 0x10
	messagePrelogin  = 0x12

	statusEndOfMessage = 0x01 // of a packet: EOM

	preloginEncryption      = 0x01 // ENCRYPTION
	preloginFedAuthRequired = 0x06 // FEDAUTHREQUIRED
	preloginTerminator      = 0xFF
	encryptNotSupported     = 0x02 // ENCRYPT_NOT_SUP

	loginFixedLength     = 94
	loginExtensionOffset = 56   // ibExtension
	featureFedAuth       = 0x02 // FEDAUTH
	featureTerminator    = 0xFF
	fedAuthToken         = 0x01<<1 | 1 // a security token, and the echo of preloginFedAuthRequired

	tokenColumns       = 0x81 // COLMETADATA
	tokenLoginAck      = 0xAD // LOGINACK
	tokenFeatureExtAck = 0xAE // FEATUREEXTACK
	tokenRow           = 0xD1 // ROW
	tokenDone          = 0xFD // DONE
	typeInt4           = 0x38 // INT4TYPE

	doneFinal     = 0x00 // DONE_FINAL
	doneAttention = 0x20 // DONE_ATTN
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
	s := &server{addr: l.Addr().String()}
	recipetest.Serve(t, l, func(conn net.Conn) {
		if err := s.serve(conn); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("TDS server: %v", err)
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
	if err := writeMessage(conn, append(ack, done(doneFinal)...)); err != nil {
		return err
	}
	for {
		kind, _, err := readAnyMessage(conn)
		if err != nil {
			return err
		}
		var resp []byte
		switch kind {
		case messageBatch:
			resp = []byte{tokenColumns, 1, 0, 0, 0, 0, 0, 0, 0, typeInt4, 0, tokenRow} // a column without a name
			resp = binary.LittleEndian.AppendUint32(resp, uint32(connection))
			resp = append(resp, done(doneFinal)...)
		case messageAttention: // The driver cancels a query when its rows are closed before it has read DONE.
			resp = done(doneAttention)
		default:
			return fmt.Errorf("got a message of type %#x after the login", kind)
		}
		if err := writeMessage(conn, resp); err != nil {
			return err
		}
	}
}

// loginToken returns the token in the extension FEDAUTH of a LOGIN7 message.
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

// readMessage returns the body of a message of the type want.
func readMessage(r io.Reader, want byte) ([]byte, error) {
	kind, body, err := readAnyMessage(r)
	if err == nil && kind != want {
		err = fmt.Errorf("got a message of type %#x, want %#x", kind, want)
	}
	return body, err
}

// readAnyMessage returns the type and the body of a message, which can have several packets.
func readAnyMessage(r io.Reader) (kind byte, body []byte, err error) {
	for {
		header := make([]byte, 8)
		if _, err := io.ReadFull(r, header); err != nil {
			return 0, nil, err
		}
		data := make([]byte, max(8, binary.BigEndian.Uint16(header[2:]))-8)
		if _, err := io.ReadFull(r, data); err != nil {
			return 0, nil, err
		}
		body = append(body, data...)
		if header[1]&statusEndOfMessage != 0 {
			return header[0], body, nil
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

// done returns the token DONE.
func done(status byte) []byte { return append([]byte{tokenDone, status}, make([]byte, 11)...) }
