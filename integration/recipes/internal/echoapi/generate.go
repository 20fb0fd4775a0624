package echoapi

// The version is here and not in go.mod, so that the generator's dependencies stay out of this module.
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config config.yaml openapi.yaml
