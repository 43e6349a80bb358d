// Log calls that must not compile: the line of each ends in a comment that says so. The others do.
#include <sapwood/logger.hpp>

#include <string>

namespace {

struct without_formatter {};

} // namespace

void calls(const sapwood::logger& log, const std::string& text) {
    using sapwood::kv;
    log.info("user {} did {}", 1, text);
    log.info("{:>8} {:.3f} {:x} {{}}", text, 1.5, 255);
    log.info("user", kv("id", 1));
    log.info("user {}");                                // refused: the_format_has_more_fields
    log.info("user {} did {}", 1);                      // refused: the_format_has_more_fields
    log.info("user {", 1);                              // refused: no closing brace
    log.info("user }", 1);                              // refused: a brace alone
    log.info("{:d}", text);                             // refused: text is no number
    log.info("{:.3f}", 1);                              // refused: an integer has no precision
    log.info("{:.3f}", true);                           // refused: nor has a boolean
    log.info("{2}", 1, 2);                              // refused: there are two only
    log.info(text);                                     // refused: known at run time only
    log.info("{}", without_formatter{});                // refused: fmt does not know it
    log.info("{}", kv("id", 1));                        // refused: a field is no argument
    log.info("{}", kv("id", 1), 2);                     // refused: a field before an argument
    log.log(sapwood::level::info, "{:>{}}", 1, "wide"); // refused: a width that is no number
}
