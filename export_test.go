package entra

import "net/http"

// MetadataURL is the address of the instance metadata service.
const MetadataURL = metadataURL

// AskMetadataOf makes c ask rt in place of the instance metadata service.
func (c *Client) AskMetadataOf(rt http.RoundTripper) { c.region.metadata = rt }
