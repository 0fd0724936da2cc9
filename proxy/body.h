/* SPDX-License-Identifier: MIT */
/*
 * A message's body on its way through: taken out of the framing it came in, put into the framing it leaves
 * in, with what can't be written yet kept back so that its sender has to wait.
 *
 * The source is a buf of bytes read and not consumed; the sink is a stream with a buf of bytes that it did
 * not take. Nothing here reads, waits or calls back. Content passes from buf to stream without a copy where
 * neither side is chunked (RFC 9112, 6 and 7).
 */
#ifndef WEIR_PROXY_BODY_H
#define WEIR_PROXY_BODY_H

#include "base/buf.h"
#include "base/stream.h"
#include "proxy/h1_body.h"
#include "proxy/h1_head.h"

#define BODY_HELD_MAX (64u << 10) /* bytes kept for a sink that is full before its source is left unread */

/* What is still to come in. */
struct body_in {
	uint8_t framing; /* enum h1_framing */
	bool done;
	bool no_trailers; /* they are dropped */
	uint16_t error;	  /* after BODY_MOVE_BAD: the status for it */
	const char *why;  /* static text */
	struct str stops; /* the name of a trailer that is dropped alone; n == 0: none */
	uint64_t left;	  /* of H1_FRAMING_LENGTH */
	uint64_t total;	  /* content bytes so far */
	struct h1_chunked chunked;
};

/* Where it goes. */
struct body_out {
	struct stream *to;
	struct buf *held;
	bool chunked;	     /* the sink's framing; else bytes as they are */
	bool last_chunk_out; /* of a chunked sink */
};

enum body_move {
	BODY_MOVE_DONE,	  /* the body is over and handed to the sink (which may still hold bytes) */
	BODY_MOVE_HUNGRY, /* the source is used up */
	BODY_MOVE_FULL,	  /* the sink takes no more now */
	BODY_MOVE_BAD,	  /* the source broke its framing, or ended in the middle of it */
	BODY_MOVE_LOST,	  /* the sink's connection is gone */
	BODY_MOVE_NO_MEMORY,
};

void body_begin(struct body_in *, enum h1_framing, uint64_t length, const struct h1_limits *trailer_limits);

/* eof: nothing comes behind what `from` holds. */
enum body_move body_move(struct body_in *, struct buf *from, bool eof, struct body_out *);

/* Throws content away; *dropped is added to. */
enum body_move body_drop(struct body_in *, struct buf *from, bool eof, uint64_t *dropped);

/* Writes what is held; false when the connection is gone. */
bool body_flush(struct stream *, struct buf *held);

#endif
