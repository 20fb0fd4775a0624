// Package entra acquires access tokens from Microsoft Entra ID.
package entra

import (
	_ "github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	_ "github.com/golang-jwt/jwt/v5"
	_ "github.com/hashicorp/golang-lru/v2/simplelru"
	_ "golang.org/x/oauth2"
	_ "golang.org/x/sync/singleflight"
)
