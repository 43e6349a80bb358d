// ring_report: which ring a loop has, what the kernel granted it, and what is missing. For people,
// and for programs that want to refuse to start without something.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sapwood {

/// Something that some kernels have.
struct ring_feature {
    enum class state : unsigned char {
        /// The kernel has it, and the ring makes use of it.
        used,
        /// The kernel has it; nothing of sapwood uses it so far, or only where a program asks.
        available,
        missing,
    };

    /// As the kernel's documentation calls it. Literals.
    std::string_view name;
    state is = state::missing;
    /// The first kernel that has it; empty for a poll_ring, whose features depend on no kernel.
    std::string_view since;
    /// What it costs to go without, and what is done instead.
    std::string_view without;
};

struct ring_report {
    /// In a line: which ring, its sizes, and for a poll_ring the reason.
    std::string summary;
    /// Every one of them, missing or not. Empty for a ring of the program's own.
    std::vector<ring_feature> features;

    /// Whether the feature of this name is there. False for names that are not in the list.
    [[nodiscard]] bool has(std::string_view name) const noexcept;

    /// The summary, a line with what is used, one with what is available, and a line for each that
    /// is missing, with what that costs. Ends with a newline.
    [[nodiscard]] std::string text() const;
};

} // namespace sapwood
