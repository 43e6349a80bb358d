// What grep looks for: a text, or a regular expression of PCRE2, compiled to machine code. An
// expression looks at one line at a time, so that no part of it can reach over a line's end.
// Without PCRE2 in the build there are texts only.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sapwood::tools {

struct pattern_options {
    /// Nothing in it is special.
    bool is_fixed = false;
    /// Of letters, whatever alphabet they are of.
    bool in_any_case = false;
};

/// An expression has taken too long on a line, or too much.
struct pattern_gave_up : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class pattern {
  public:
    /// Throws std::invalid_argument that shows what is wrong with it, and where.
    pattern(std::string text, pattern_options options);
    pattern(const pattern&) = delete;
    pattern& operator=(const pattern&) = delete;
    ~pattern();

    [[nodiscard]] std::string_view text() const noexcept { return text_; }

    /// Whether a line matches that has text().
    [[nodiscard]] bool is_text() const noexcept { return is_text_; }

    /// Throws pattern_gave_up.
    [[nodiscard]] bool matches(std::string_view line) const;

  private:
    struct expression;

    std::string text_;
    bool is_text_ = false;
    std::unique_ptr<expression> expression_;
};

} // namespace sapwood::tools
