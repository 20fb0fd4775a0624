package verify

import (
	"context"
	"io"
	"net/http"
	"time"
)

// maxKeysSize bounds the key document, in bytes; Entra's has some 20,000.
const maxKeysSize = 1 << 20

// fetcher gets the key document, over TLS only: its address is always https.
type fetcher struct {
	url    string
	client *http.Client
}

// newFetcher leaves the client given as it is and uses a copy that follows no
// redirect: keys from another host are not the authority's.
func newFetcher(url string, client *http.Client) fetcher {
	var own http.Client
	if client != nil {
		own = *client
	} else {
		own.Timeout = fetchTimeout
		own.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          1,
			IdleConnTimeout:       30 * time.Second,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: 8 * time.Second,
		}
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	return fetcher{url, &own}
}

// fetch gets the keys. Every failure is an *Error with reason KeysUnavailable:
// errors of net/http quote what a proxy or server sent, and are left out.
func (f fetcher) fetch(ctx context.Context) (map[string]*signingKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, reject(ReasonKeysUnavailable)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, reject(ReasonKeysUnavailable)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &Error{Reason: ReasonKeysUnavailable, StatusCode: resp.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeysSize+1))
	if err != nil || len(body) > maxKeysSize {
		return nil, reject(ReasonKeysUnavailable)
	}
	byID, err := parseKeys(body)
	if err != nil {
		return nil, reject(ReasonKeysUnavailable)
	}
	return byID, nil
}
