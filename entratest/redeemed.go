package entratest

import "time"

// redeemed remembers which authorization codes were redeemed: a bit for each,
// by the code's number, until the code has expired anyway. Server.mu guards it.
type redeemed struct {
	issued uint64                   // numbers given out
	blocks map[uint64]redeemedBlock // by number/64
}

// A redeemedBlock has the bits of 64 codes in a row.
type redeemedBlock struct {
	bits  uint64
	until time.Time // when all that were redeemed have expired
}

// number is that of a new code.
func (s *Server) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redeemed.issued++
	return s.redeemed.issued
}

// once marks a code as redeemed and reports whether it was not before.
func (s *Server) once(number uint64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.redeemed
	if r.blocks == nil {
		r.blocks = map[uint64]redeemedBlock{}
	}
	at, bit := number/64, uint64(1)<<(number%64)
	block := r.blocks[at]
	if block.bits&bit != 0 {
		return false
	}
	if n := len(r.blocks); n&(n-1) == 0 { // now and then
		for i, b := range r.blocks {
			if now.After(b.until) {
				delete(r.blocks, i)
			}
		}
		block = r.blocks[at]
	}
	r.blocks[at] = redeemedBlock{block.bits | bit, now.Add(codeLife)}
	return true
}
