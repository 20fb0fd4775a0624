module github.com/entratoken/entra/integration

go 1.25.0
