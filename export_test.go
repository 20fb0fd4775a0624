package entra

import "net/http"

// MetadataURL is the address of the instance metadata service.
const MetadataURL = metadataURL

// SetMetadata replaces the instance metadata service of c by rt.
func (c *Client) SetMetadata(rt http.RoundTripper) { c.region.metadata = rt }

// EncodeError and DecodeError convert errors for a store.
var (
	EncodeError = encodeError
	DecodeError = decodeError
)
