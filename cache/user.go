package cache

import "slices"

// maxUserSessions bounds the sessions of one user. Whoever signs in again and again
// pushes out his own, those first that are in use least.
const maxUserSessions = 64

// users knows the sessions of each subject that has sessions of its own: by the place of the
// subject without a session, the names of those with one. It has no lock.
type users map[place][]string

// add returns the names of all sessions of k's user if they are too many with it, or else nil.
func (u users) add(k place) []string {
	user, ok := k.user()
	if !ok {
		return nil
	}
	u[user] = append(u[user], k.holder)
	if len(u[user]) <= maxUserSessions {
		return nil
	}
	return u[user]
}

func (u users) remove(k place) {
	user, ok := k.user()
	if !ok {
		return
	}
	holders := slices.DeleteFunc(u[user], func(holder string) bool { return holder == k.holder })
	if len(holders) == 0 {
		delete(u, user)
		return
	}
	u[user] = holders
}
