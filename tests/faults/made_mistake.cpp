// The log that is tested makes a mistake on purpose: that which SAPWOOD_TEST_MISTAKE names.
#include "mistakes.hpp" // of the sinks

#include <cstdlib>
#include <string_view>
#include <utility>

namespace {

using sapwood::detail::mistake;

constexpr std::pair<std::string_view, mistake> names[] = {
    {"acknowledge_before_sync", mistake::acknowledge_before_sync},
    {"acknowledge_failed_write", mistake::acknowledge_failed_write},
    {"forget_last_block", mistake::forget_last_block},
    {"ignore_short_write", mistake::ignore_short_write},
    {"retry_sync", mistake::retry_sync},
};

bool make_it() {
    const char* const wanted = std::getenv("SAPWOOD_TEST_MISTAKE");
    for (const auto& [name, which] : names) {
        if (wanted != nullptr && wanted == name) {
            sapwood::detail::made = which;
        }
    }
    return sapwood::detail::made != mistake::none;
}

[[maybe_unused]] const bool is_made = make_it();

} // namespace
