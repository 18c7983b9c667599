//! Feed formats: bytes in, records and problems out.
