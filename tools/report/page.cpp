#include "tools/report/page.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

// Colours have at least 4.5:1 contrast to the paper where they carry text. Paper gets the light
// ones.
constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--muted:#57606a;--line:#d5dae0;--wash:#f4f6f8;
--before:#9aa5b1;--after:#0b69c7;--good:#1a7f37;--bad:#b93815;--control:#8250df}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--muted:#9ba5b0;--line:#333a42;--wash:#1d2127;
--before:#6b7682;--after:#58a6ff;--good:#4ac26b;--bad:#ff8a65;--control:#b392f0}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:60rem;margin:auto;padding:2rem 1.25rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0;overflow-wrap:anywhere}.note{color:var(--muted);font-size:.88rem}
.tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.2rem 0}
.tile{background:var(--wash);border:1px solid var(--line);border-radius:.5rem;padding:.6rem 1rem;min-width:7rem}
.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile span{color:var(--muted);font-size:.85rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;overflow-wrap:anywhere}
th,th:first-child{color:var(--muted);font-weight:600;vertical-align:bottom;white-space:normal;overflow-wrap:normal}
small{display:block;color:var(--muted)}thead{display:table-header-group}
td svg{display:block;width:100%;min-width:5rem;height:.45rem;margin-top:.15rem;background:var(--wash);border-radius:2px}
figure{margin:.8rem 0 1.2rem}figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--muted);font-size:.88rem}
svg text{fill:var(--muted);font-size:12px}svg .strong{fill:var(--ink);font-weight:600}
.axis{stroke:var(--line);fill:none}.cut{stroke:var(--ink);stroke-dasharray:3 3;fill:none}
.front{stroke:var(--after);fill:none;stroke-width:1.5}
rect.before,circle.before{fill:var(--before)}rect.after,circle.after{fill:var(--after)}
rect.good,circle.good{fill:var(--good)}rect.bad,circle.bad{fill:var(--bad)}rect.control,circle.control{fill:var(--control)}
circle.hollow{fill:var(--paper);stroke:var(--after);stroke-width:1.5}
td.good,.tile .good{color:var(--good)}td.bad,.tile .bad{color:var(--bad)}td.dim{color:var(--muted)}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--muted:#444;--line:#bbb;--wash:#f4f4f4;
--before:#9aa5b1;--after:#0b69c7;--good:#1a7f37;--bad:#b93815;--control:#8250df}
body{font-size:11px}main{max-width:none;padding:0}.scroll{overflow:visible}th,td{padding:.25rem .4rem}td svg{min-width:3rem}
figure,.tiles,tr{break-inside:avoid}h2{break-after:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:15mm}}
)";

std::string cell_html(const Cell& cell) {
  // Only words are coloured by the class of the cell; a bar has its own.
  const bool has_bar = cell.bar.has_value();
  std::string html =
      has_bar || cell.tone.empty() ? "<td>" : fmt::format("<td class=\"{}\">", cell.tone);
  html += escape_markup(cell.text);
  if (!cell.detail.empty()) html += fmt::format("<small>{}</small>", escape_markup(cell.detail));
  if (has_bar) {
    html += fmt::format(
        "<svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect "
        "class=\"{}\" "
        "width=\"{:.2f}\" height=\"10\"/></svg>",
        cell.tone.empty() ? "after" : cell.tone, 100 * std::clamp(*cell.bar, 0.0, 1.0));
  }
  return html + "</td>";
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        // Control characters are not allowed in XML, and nothing one could read.
        escaped += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return escaped;
}

void Page::heading(std::string_view text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape_markup(text));
}

void Page::paragraph(std::string_view text) {
  body_ += fmt::format("<p>{}</p>\n", escape_markup(text));
}

void Page::note(std::string_view text) {
  body_ += fmt::format("<p class=\"note\">{}</p>\n", escape_markup(text));
}

void Page::tiles(const std::vector<Tile>& tiles) {
  body_ += "<div class=\"tiles\">";
  for (const Tile& tile : tiles) {
    body_ += fmt::format("<div class=\"tile\"><b class=\"{}\">{}</b><span>{}</span></div>",
                         tile.tone, escape_markup(tile.figure), escape_markup(tile.caption));
  }
  body_ += "</div>\n";
}

void Page::table(const std::vector<std::string>& head, const std::vector<std::vector<Cell>>& rows) {
  body_ += "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& name : head)
    body_ += fmt::format("<th>{}</th>", escape_markup(name));
  body_ += "</tr></thead><tbody>\n";
  for (const std::vector<Cell>& row : rows) {
    body_ += "<tr>";
    for (const Cell& cell : row)
      body_ += cell_html(cell);
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

void Page::figure(std::string_view svg, std::string_view caption) {
  body_ +=
      fmt::format("<figure>{}<figcaption>{}</figcaption></figure>\n", svg, escape_markup(caption));
}

std::string Page::html() const {
  const std::string title = escape_markup(title_);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>{}</title><style>{}</style></head>\n"
      "<body><main><h1>{}</h1>\n{}</main></body></html>\n",
      title, kStyle, title, body_);
}

}  // namespace rtai::tools
