package main

// bannedWords maps words that no name may contain to the words to use.
var bannedWords = map[string]string{
	"answer": "write response", "answers": "write response", "answered": "write responded", "answering": "write respond",
	"ask": "write request, call or query", "asks": "write request, call or query",
	"asked": "write request, call or query", "asking": "write request, call or query",
	"refuse": "write reject", "refuses": "write rejects", "refused": "write rejected", "refusing": "write reject",
	"refusal": "write rejection", "refusals": "write rejections",
	"told": "write notified, called or logged", "tell": "write notify, call or log",
	"tells": "write notifies, calls or logs",
	"held":  "write cached, stored or current", "kept": "write cached or stored",
	"forgive": "write reset", "forgives": "write resets", "forgiven": "write reset", "forbids": "write backoff or rejects",
	"bury": "write tombstone or revoke", "buried": "write revoked", "burial": "write tombstone",
	"gate": "write breaker", "gates": "write breakers",
	"proof": "write credential or authentication", "proofs": "write credentials", "prove": "write authenticate",
	"proves": "write authenticates", "proved": "write authenticated", "unproven": "write unauthenticated",
	"place": "write key, entry or position", "places": "write keys, entries or positions",
	"nobody": "name the caller or the client", "somebody": "name the caller or the client",
	"anybody": "name the caller or the client", "everybody": "name the callers or the clients",
	"whoever": "name the caller or the client", "whatever": "name the thing", "whichever": "name the thing",
	"anew": "write again or retry", "meanwhile": "write concurrent or during", "beside": "write next to",
	"besides": "write next to", "mend": "write fix", "mends": "write fixes", "mended": "write fixed", "vain": "name the outcome",
	"victim": "write evicted", "victims": "write evicted", "idlest": "write least recent",
}

// builtins are the predeclared identifiers that are easy to shadow.
var builtins = map[string]bool{
	"any": true, "append": true, "bool": true, "byte": true, "cap": true, "clear": true, "close": true, "complex": true,
	"copy": true, "delete": true, "error": true, "false": true, "float64": true, "imag": true, "int": true, "iota": true,
	"len": true, "make": true, "max": true, "min": true, "new": true, "nil": true, "panic": true, "print": true,
	"println": true, "real": true, "recover": true, "rune": true, "string": true, "true": true, "uint": true,
}
