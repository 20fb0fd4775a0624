package credentials

// WithoutComments is tested by FuzzFromFile.
var WithoutComments = withoutComments
