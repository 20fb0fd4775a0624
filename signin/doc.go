// Package signin signs users in to a web app, keeps them signed in, and gets tokens with
// which the app calls APIs for them.
package signin
