//go:build !unix

package credentials

// nonblock: there are no pipes among files.
const nonblock = 0
