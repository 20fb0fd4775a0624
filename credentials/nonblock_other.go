//go:build !unix

package credentials

// nonblock is zero, because these systems have no pipes in the file system.
const nonblock = 0
