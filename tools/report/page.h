// Reports as one HTML page: no scripts, no network, readable in dark mode and on paper.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Text as it must stand in HTML and XML: <, >, & and quotes replaced.
std::string escape_markup(std::string_view text);

/// One cell of a table: a text, and perhaps a bar behind which the text is the figure.
struct Cell {
  std::string text;
  std::optional<double> bar = std::nullopt;  // filled share, in [0, 1]
  std::string tone = {};    // a class of the style sheet: before, after, good, bad, ...
  std::string detail = {};  // smaller, on a line of its own
};

/// A headline figure: "1.92x" above "faster".
struct Tile {
  std::string figure;
  std::string caption;
  std::string tone = {};
};

class Page {
 public:
  explicit Page(std::string title) : title_(std::move(title)) {}

  void heading(std::string_view text);
  void paragraph(std::string_view text);
  void note(std::string_view text);
  void tiles(const std::vector<Tile>& tiles);
  /// Rows as wide as the head; the first column is flush left, the others right.
  void table(const std::vector<std::string>& head, const std::vector<std::vector<Cell>>& rows);
  /// A chart of charts.h with words below it.
  void figure(std::string_view svg, std::string_view caption);

  std::string html() const;

 private:
  std::string title_;
  std::string body_;
};

}  // namespace rtai::tools
