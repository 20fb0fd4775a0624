package storetest_test

import (
	"testing"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

func TestMemory(t *testing.T) {
	m := storetest.NewMemory()
	storetest.Run(t, func() cache.Store { return m })
}

func TestMemoryWithoutPush(t *testing.T) {
	m := storetest.NewMemory()
	storetest.Run(t, m.WithoutPush)
}
