#include "tools/text_data.h"

#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>

#include <fstream>

namespace rtai::tools {
namespace {

Result<std::vector<Sample>> read(const std::string& name, const std::string& content) {
  const testing::TempFolder folder;
  const std::filesystem::path path = folder.path() / name;
  std::ofstream(path, std::ios::binary) << content;
  return read_samples(path);
}

/// What is wrong with it, without the folder.
std::string refusal(const std::string& name, const std::string& content) {
  const auto samples = read(name, content);
  REQUIRE_FALSE(samples);
  CHECK(samples.error().code() == ErrorCode::invalid_input);
  const std::string& message = samples.error().message();
  return message.substr(message.find(name));
}

TEST_CASE("a .csv file is read by the names of its columns") {
  const auto samples = read("t.csv", "id,label,text\n1,x,play it\n2,,\"stop, now\"\n");
  REQUIRE(samples);
  REQUIRE(samples->size() == 2);
  CHECK((*samples)[0].text == "play it");
  CHECK((*samples)[0].label == "x");
  CHECK((*samples)[1].text == "stop, now");
  CHECK_FALSE((*samples)[1].label);
  CHECK_FALSE((*samples)[1].text_b);
}

TEST_CASE("quotes of a .csv file hold commas, lines and doubled quotes") {
  const auto samples = read("t.csv", "text\r\n\"a \"\"b\"\",\r\nc\"\r\n5\" disk\r\n\"\"\"\"\r\n");
  REQUIRE(samples);
  REQUIRE(samples->size() == 3);
  CHECK((*samples)[0].text == "a \"b\",\r\nc");
  CHECK((*samples)[1].text == "5\" disk");
  CHECK((*samples)[2].text == "\"");
}

TEST_CASE("quotes of a .tsv file are characters") {
  const auto samples = read("t.tsv", "sentence\tlabel\n\"a, b\t0\nhe said \"no\"\t1\n");
  REQUIRE(samples);
  REQUIRE(samples->size() == 2);
  CHECK((*samples)[0].text == "\"a, b");
  CHECK((*samples)[1].text == "he said \"no\"");
  CHECK((*samples)[1].label == "1");
}

TEST_CASE("two columns are a pair, with or without a score") {
  const auto scored = read("t.tsv", "score\tsentence1\tsentence2\n2.5\ta\tb\n");
  REQUIRE(scored);
  CHECK((*scored)[0].text == "a");
  CHECK((*scored)[0].text_b == "b");
  CHECK((*scored)[0].score == 2.5);
  const auto labelled = read("t.csv", "text_a,text_b,label\na,b,same\n");
  REQUIRE(labelled);
  CHECK((*labelled)[0].label == "same");
  CHECK_FALSE((*labelled)[0].score);
}

TEST_CASE("a byte order mark, CRLF, empty lines and a last line without an end are all right") {
  const auto samples = read("t.csv", "\xef\xbb\xbftext,label\r\n\r\na,x\r\n \r\nb,y");
  REQUIRE(samples);
  REQUIRE(samples->size() == 2);
  CHECK((*samples)[0].label == "x");
  CHECK((*samples)[1].text == "b");
  CHECK((*samples)[1].label == "y");
}

TEST_CASE("what is wrong in a table is told with its line") {
  CHECK(refusal("t.csv", "text,label\na,x\n\"b\nc,y\nd,z\n") ==
        "t.csv: line 3: a quote is opened and never closed");
  CHECK(
      refusal("t.csv", "text\n\"a\nb\"\n\"c\"d\n").starts_with("t.csv: line 4: expected a comma"));
  CHECK(refusal("t.csv", "label,words\nx,a\n") ==
        "t.csv: line 1: expected a header with a column \"text\", or \"text_a\" and \"text_b\"");
  CHECK(refusal("t.csv", "text_a,label\na,x\n").starts_with("t.csv: line 1: expected a header"));
  CHECK(refusal("t.csv", "text,label\n\"a\nb\",x\nc\n") ==
        "t.csv: line 4: expected 2 columns as in the header, found 1");
  CHECK(refusal("t.tsv", "text_a\ttext_b\tscore\na\tb\thigh\n") ==
        "t.tsv: line 2: \"score\": expected a number");
  CHECK(refusal("t.csv", "text" + std::string(2000, ',')) ==
        "t.csv: line 1: more than 1024 columns");
}

TEST_CASE("a file without texts is refused, whatever its form") {
  for (const char* name : {"t.txt", "t.jsonl", "t.csv", "t.tsv"}) {
    CHECK(refusal(name, "") == std::string(name) + ": no text in this file");
    CHECK(refusal(name, "\n\r\n  \n") == std::string(name) + ": no text in this file");
  }
  CHECK(refusal("t.csv", "text,label\n") == "t.csv: no text in this file");
  CHECK(refusal("t.xml", "<a/>") == "t.xml: expected a .txt, .jsonl, .csv or .tsv file");
}

TEST_CASE("texts in another encoding are refused with the line") {
  CHECK(refusal("t.txt", "Stra\xc3\x9f\x65\nStra\xdf\x65\n") ==
        "t.txt: line 2: expected a text in UTF-8");
  CHECK(refusal("t.jsonl", "{\"text\": \"Stra\xdf\x65\"}") ==
        "t.jsonl: line 1: expected a text in UTF-8");
  CHECK(refusal("t.csv", "text\nb\nc\n\xff\xfe") == "t.csv: line 4: expected a text in UTF-8");
  CHECK(read("t.txt", "\xef\xbf\xbd\n"));  // U+FFFD itself is a character
}

TEST_CASE("what is no JSON is told with its column") {
  CHECK(refusal("t.jsonl", "{\"text\": \"a\"}\n{\"text\": oops}\n") ==
        "t.jsonl: line 2: expected JSON; column 10 is wrong");
}

}  // namespace
}  // namespace rtai::tools
