package cache

import "slices"

// maxUserSessions bounds the sessions of one user. Whoever signs in again and again
// pushes out his own.
const maxUserSessions = 64

// users knows the sessions of each subject that has sessions of its own: by the place of the
// subject without a session, the names of those with one, oldest first. It has no lock.
type users map[place][]string

// add returns the session that has to go, if there is one.
func (u users) add(k place) (excess place, over bool) {
	user, ok := k.user()
	if !ok {
		return place{}, false
	}
	holders := append(u[user], k.holder)
	if over = len(holders) > maxUserSessions; over {
		excess = place{k.partition, holders[0]}
		holders = slices.Delete(holders, 0, 1)
	}
	u[user] = holders
	return excess, over
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
