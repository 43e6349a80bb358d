// Any bytes as those of a stream of lines or counted messages, cut in pieces of a size that the
// first byte tells: the same messages come out as from pieces of another size, and none is longer
// than it may be, nor is more kept.
#include "fuzz/target.hpp"

#include <collector/line_splitter.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sapwood::collector::line_splitter;

constexpr std::size_t longest = 48;

std::vector<std::string> lines_of(std::string_view bytes, std::size_t piece, bool may_be_counted) {
    line_splitter splitter(longest, may_be_counted);
    std::vector<std::string> found;
    const auto note = [&] {
        if (splitter.line().size() > longest || splitter.held_bytes() > 4 * longest) {
            sapwood::test::require_none("a message that is too long: " +
                                        std::string(splitter.line()));
        }
        found.push_back(std::string(splitter.line()) + (splitter.is_cut() ? '-' : '+'));
    };
    // What is chosen by the first piece must not depend on where that ends.
    bytes = bytes.substr(0, bytes.find('\0'));
    while (!bytes.empty()) {
        const std::string kept(bytes.substr(0, piece)); // a sanitizer sees what is read of it later
        bytes.remove_prefix(kept.size());
        std::string_view input = kept;
        while (splitter.next(input)) {
            note();
        }
    }
    if (splitter.finish()) {
        note();
    }
    return found;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = sapwood::test::text_of(data, size);
    if (bytes.empty()) {
        return 0;
    }
    const std::size_t piece = 1 + static_cast<unsigned char>(bytes.front());
    for (const bool may_be_counted : {false, true}) {
        if (lines_of(bytes.substr(1), piece, may_be_counted) !=
            lines_of(bytes.substr(1), 1, may_be_counted)) {
            sapwood::test::require_none("in pieces of " + std::to_string(piece) +
                                        " there are other messages");
        }
    }
    return 0;
}
