// What a sink has to tell the readers of its log: that it goes on in another file, say. It becomes
// a line of the log, in the log's form. A plain value.
#pragma once

#include <sapwood/level.hpp>

#include <string>
#include <utility>

namespace sapwood {

class log_news {
  public:
    // Constructors, so that gcc 12 does not take it for an aggregate; see directory_entry.

    /// Nothing.
    log_news() = default;

    log_news(level its_importance, std::string its_text)
        : importance(its_importance),
          text(std::move(its_text)) {}

    [[nodiscard]] explicit operator bool() const noexcept { return !text.empty(); }

    level importance = level::info;
    std::string text;
};

} // namespace sapwood
