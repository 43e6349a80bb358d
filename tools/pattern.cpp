#include "pattern.hpp"

#include <fmt/format.h>
#include <stdexcept>
#include <utility>

#ifdef SAPWOOD_HAS_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace sapwood::tools {

namespace {

constexpr std::string_view special = "\\^$.|?*+()[]{}";

} // namespace

#ifdef SAPWOOD_HAS_PCRE2

struct pattern::expression {
    expression(const std::string& text, pattern_options options)
        : code(nullptr, &pcre2_code_free_8),
          found(nullptr, &pcre2_match_data_free_8) {
        // Lines may be any bytes: what is not UTF-8 in them matches nothing.
        // A text has no \C, and PCRE2 does not take it with what forbids that.
        const std::uint32_t flags = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                                    (options.is_fixed ? PCRE2_LITERAL : PCRE2_NEVER_BACKSLASH_C) |
                                    (options.in_any_case ? PCRE2_CASELESS : 0);
        int error = 0;
        PCRE2_SIZE place = 0;
        code.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(text.data()), text.size(), flags,
                                   &error, &place, nullptr));
        if (code == nullptr) {
            PCRE2_UCHAR8 why[256];
            pcre2_get_error_message_8(error, why, sizeof(why));
            throw std::invalid_argument(
                options.is_fixed
                    ? fmt::format("the pattern cannot be looked for in any case (-i): {} (at byte "
                                  "{}); without -i any bytes can",
                                  reinterpret_cast<const char*>(why), place)
                    : fmt::format("the pattern is no regular expression: {} (at byte {}); -F takes "
                                  "it as a text",
                                  reinterpret_cast<const char*>(why), place));
        }
        is_fast = pcre2_jit_compile_8(code.get(), PCRE2_JIT_COMPLETE) == 0;
        found.reset(pcre2_match_data_create_from_pattern_8(code.get(), nullptr));
        if (found == nullptr) {
            throw std::bad_alloc();
        }
    }

    [[nodiscard]] bool matches(std::string_view line) const {
        const auto* const at =
            reinterpret_cast<PCRE2_SPTR8>(line.data() == nullptr ? "" : line.data());
        const int result =
            is_fast ? pcre2_jit_match_8(code.get(), at, line.size(), 0, 0, found.get(), nullptr)
                    : pcre2_match_8(code.get(), at, line.size(), 0, 0, found.get(), nullptr);
        if (result >= 0) {
            return true;
        }
        if (result != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR8 why[256];
            pcre2_get_error_message_8(result, why, sizeof(why));
            throw pattern_gave_up(
                fmt::format("the pattern takes too much of a line of {} bytes: {}", line.size(),
                            reinterpret_cast<const char*>(why)));
        }
        return false;
    }

    std::unique_ptr<pcre2_code_8, void (*)(pcre2_code_8*)> code;
    std::unique_ptr<pcre2_match_data_8, void (*)(pcre2_match_data_8*)> found;
    bool is_fast = false;
};

#else

struct pattern::expression {
    expression(const std::string&, pattern_options) {
        throw std::invalid_argument("this sapwood was built without PCRE2: it takes a text (-F, "
                                    "without -i) and no regular expression");
    }

    [[nodiscard]] bool matches(std::string_view) const { return false; }
};

#endif

pattern::pattern(std::string text, pattern_options options)
    : text_(std::move(text)),
      is_text_(!options.in_any_case &&
               (options.is_fixed || text_.find_first_of(special) == text_.npos)) {
    if (text_.find('\n') != text_.npos) {
        throw std::invalid_argument("the pattern has a newline, which no line has");
    }
    if (!is_text_) {
        expression_ = std::make_unique<expression>(text_, options);
    }
}

pattern::~pattern() = default;

bool pattern::matches(std::string_view line) const {
    return is_text_ ? line.find(text_) != line.npos : expression_->matches(line);
}

} // namespace sapwood::tools
