// Package recipes tests the recipes of docs/recipes.md: each is the source of a package below this one, and its tests
// use the real client library with a server that verifies the token.
//
// A recipe stands between the lines "// recipe NAME" and "// end recipe". The same recipe with azidentity is in
// the same directory as "// recipe NAME azidentity". It is compiled and counted, but not tested.
package recipes
