// run_process: a program from its start to its end, with what it is given to read and what it
// writes, as Python's subprocess.run. Loop thread only.
#pragma once

#include <sapwood/process.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace sapwood {

struct run_process_options {
    /// What it reads from its standard input, and then the end. Must live until then.
    std::string_view input = {};
    /// What is kept of its output, and as much of its errors. What is written past it is read, so
    /// that the program goes on, counted, and dropped.
    std::size_t output_bytes_max = 16u << 20;
};

static_assert(std::is_trivially_destructible_v<run_process_options>,
              "gcc 12 destroys options in a co_await expression twice");

struct process_output {
    // A constructor, so that gcc 12 does not take it for an aggregate; see first_of.
    explicit process_output(exit_status how) noexcept : status(how) {}

    exit_status status;
    std::string out;
    std::string err;
    /// Bytes past output_bytes_max.
    std::uint64_t out_dropped = 0;
    std::uint64_t err_dropped = 0;
};

/// Starts the program, writes `options.input` while it reads what the program writes, so that
/// neither waits for the other, and waits for its end. Of the command's streams those that are
/// inherited are captured, standard input is the given one; others stay what they are. It ends when
/// the program has, and nobody has its output open any more: not what it left in the background.
/// Cancelled, and where anything fails, the program is ended as command::stop says before it
/// throws.
[[nodiscard]] task<process_output> run_process(command what, run_process_options options = {});

} // namespace sapwood
