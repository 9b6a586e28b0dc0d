/* rtai in C: open an engine, answer texts or token ids, read the outputs.
 *
 * A stable interface: what is here keeps its meaning and its binary form as long as
 * RTAI_API_VERSION stays the same; additions do not raise it. Link with -lrtai.
 *
 * Threads: an engine is read-only and may be shared by any number of threads. A session has one
 * caller at a time; make one for each thread that runs. rtai_last_error() is the calling thread's
 * own.
 *
 * Errors: every function that can fail returns a status and leaves a line for people in
 * rtai_last_error(). No function exits, prints, or lets a C++ exception out. Where a pointer to a
 * result is given, it is set to NULL or zero on failure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RTAI_API_VERSION 1

#if defined(__GNUC__)
#define RTAI_API __attribute__((visibility("default")))
#else
#define RTAI_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rtai_engine rtai_engine;
typedef struct rtai_session rtai_session;

/* Numbers are never reused. */
typedef enum rtai_status {
  RTAI_OK = 0,
  RTAI_INTERNAL = 1,      /* a defect in rtai; please report it */
  RTAI_INVALID_INPUT = 2, /* an argument or a file that is not what it should be */
  RTAI_NOT_FOUND = 3,     /* a file that does not exist */
  RTAI_IO = 4,            /* the operating system refused to read */
  RTAI_UNSUPPORTED = 5,   /* valid, but rtai cannot do it */
  RTAI_CORRUPT = 6,       /* an engine file that is damaged or was changed */
  RTAI_DEVICE = 7         /* no such device, it failed, or memory ran out */
} rtai_status;

/* "0.1.0": of the library that runs, not of this header. */
RTAI_API const char* rtai_version(void);
/* RTAI_API_VERSION of the library that runs. */
RTAI_API int32_t rtai_api_version(void);
/* What the last failure on this thread was, in one line of 1,023 bytes at most, cut between
 * characters; empty if there was none. Valid until the next call that fails on this thread. */
RTAI_API const char* rtai_last_error(void);

/* Opens and checks an engine file. It is mapped, not copied: several processes share its memory. */
RTAI_API rtai_status rtai_engine_open(const char* path, rtai_engine** engine);
/* Sessions made from the engine stay valid. NULL is allowed. */
RTAI_API void rtai_engine_close(rtai_engine* engine);
/* How many classes have a name, and the name of one, NULL if it has none. Valid as long as the
 * engine. */
RTAI_API size_t rtai_engine_label_count(const rtai_engine* engine);
RTAI_API const char* rtai_engine_label(const rtai_engine* engine, size_t label);
/* A fact that travels in the engine, by its name: "task", "rtai_version", "source_sha256". NULL if
 * it is not there. Valid as long as the engine. */
RTAI_API const char* rtai_engine_fact(const rtai_engine* engine, const char* name);

/* Options are found by their size, so that later versions can have more: set it to sizeof,
 * everything else to zero or to what is wanted. */
typedef struct rtai_session_options {
  size_t size;        /* sizeof(rtai_session_options) */
  int32_t threads;    /* 0: usable cores */
  const char* target; /* an instruction set by name, as `rtai devices` lists them; NULL: the best */
  int64_t max_tokens; /* of a batch without another allocation; 0: 512 */
  int64_t max_sequences; /* likewise; 0: 32 */
} rtai_session_options;

/* `options` may be NULL. */
RTAI_API rtai_status rtai_session_create(const rtai_engine* engine,
                                         const rtai_session_options* options,
                                         rtai_session** session);
/* NULL is allowed. */
RTAI_API void rtai_session_close(rtai_session* session);

/* Answers `count` texts in UTF-8 as one batch. A text that is longer than the model allows is cut.
 */
RTAI_API rtai_status rtai_session_run_texts(rtai_session* session,
                                            const char* const* texts,
                                            size_t count);
/* Answers `sequences` sequences of token ids laid end to end: offsets [sequences + 1] from 0 up;
 * ids and segments [offsets[sequences]]. `segments` may be NULL: all zero. */
RTAI_API rtai_status rtai_session_run_ids(rtai_session* session,
                                          const int32_t* ids,
                                          const int32_t* segments,
                                          const int32_t* offsets,
                                          size_t sequences);

/* Rows of floats, one after the other: [rows, columns]. */
typedef struct rtai_matrix {
  const float* values;
  int64_t rows;
  int64_t columns;
} rtai_matrix;

RTAI_API size_t rtai_session_output_count(const rtai_session* session);
/* Output `output` of the last run for one sequence: a row for each of its tokens, or one row. Valid
 * until the next run of the session. */
RTAI_API rtai_status rtai_session_output(const rtai_session* session,
                                         size_t output,
                                         size_t sequence,
                                         rtai_matrix* matrix);
/* The token ids of one sequence of the last run, special ones included. Valid until the next run of
 * the session. */
RTAI_API rtai_status rtai_session_tokens(const rtai_session* session,
                                         size_t sequence,
                                         const int32_t** ids,
                                         size_t* count);

#ifdef __cplusplus
}
#endif
