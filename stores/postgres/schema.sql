-- The tables of package postgresstore. Running this file again changes nothing.

CREATE TABLE IF NOT EXISTS entra_tokens (
    key        text PRIMARY KEY,
    version    bytea NOT NULL,
    value      bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS entra_tokens_expires_at ON entra_tokens (expires_at);

CREATE TABLE IF NOT EXISTS entra_sessions (
    token      text PRIMARY KEY,
    data       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS entra_sessions_expires_at ON entra_sessions (expires_at);
