//go:build !unix

package credentials

// nonblock is zero, because these systems do not have pipes in the file system.
const nonblock = 0
