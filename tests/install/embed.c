/* rtai from C: an engine, texts, the best label of every token. */
#include <rtai.h>
#include <stdio.h>
#include <string.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, rtai_last_error());
  return 1;
}

/* The name of the class with the highest score. */
static const char* best_label(const rtai_engine* engine, const float* scores, int64_t columns) {
  size_t best = 0;
  for (size_t i = 1; i < (size_t)columns; ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  const char* label = rtai_engine_label(engine, best);
  return label != NULL ? label : "?";
}

/* What a program must be able to rely on when it makes mistakes. */
static int check_refusals(rtai_session* session) {
  rtai_engine* none = (rtai_engine*)session;
  if (rtai_engine_open("no-such-file.rtai", &none) != RTAI_NOT_FOUND || none != NULL) return 1;
  if (strstr(rtai_last_error(), "no-such-file.rtai") == NULL) return 1;
  rtai_matrix matrix;
  if (rtai_session_output(session, 0, 0, &matrix) != RTAI_INVALID_INPUT || matrix.values != NULL)
    return 1;
  const int32_t wild[] = {1 << 30};
  const int32_t offsets[] = {0, 1};
  if (rtai_session_run_ids(session, wild, NULL, offsets, 1) != RTAI_INVALID_INPUT) return 1;
  if (rtai_session_run_texts(NULL, NULL, 0) != RTAI_INVALID_INPUT) return 1;
  return 0;
}

int main(int count, char** arguments) {
  if (count < 3) return 2;
  if (rtai_api_version() != RTAI_API_VERSION) return 1;
  rtai_engine* engine = NULL;
  if (rtai_engine_open(arguments[1], &engine) != RTAI_OK) return fail("open");
  const rtai_session_options options = {.size = sizeof(rtai_session_options), .threads = 1};
  rtai_session* session = NULL;
  if (rtai_session_create(engine, &options, &session) != RTAI_OK) return fail("create");
  if (check_refusals(session) != 0) return fail("a mistake was not refused");

  const size_t texts = (size_t)(count - 2);
  if (rtai_session_run_texts(session, (const char* const*)(arguments + 2), texts) != RTAI_OK)
    return fail("run");
  for (size_t text = 0; text < texts; ++text) {
    const int32_t* ids = NULL;
    size_t tokens = 0;
    rtai_matrix logits;
    if (rtai_session_tokens(session, text, &ids, &tokens) != RTAI_OK) return fail("tokens");
    if (rtai_session_output(session, 0, text, &logits) != RTAI_OK) return fail("output");
    for (size_t token = 0; token < tokens; ++token) {
      const float* scores = logits.values + (int64_t)token * logits.columns;
      printf("%d %s\n", ids[token], best_label(engine, scores, logits.columns));
    }
  }
  rtai_session_close(session);
  rtai_engine_close(engine);
  return 0;
}
