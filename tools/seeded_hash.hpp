// seeded_hash: SipHash-1-3 with a key that each process draws, so that nobody can make up names
// that fall into one place of a table and make every look-up a walk through all of them. Any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood::tools {

[[nodiscard]] std::uint64_t seeded_hash(std::string_view text);
[[nodiscard]] std::uint64_t seeded_hash(std::uint64_t number);

/// For the standard library's tables.
struct seeded_text_hash {
    // Not noexcept: a table then keeps the hashes, and does not compute them again as it looks.
    std::size_t operator()(std::string_view text) const { return seeded_hash(text); }
};

} // namespace sapwood::tools
