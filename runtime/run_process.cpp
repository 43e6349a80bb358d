#include <sapwood/run_process.hpp>

#include <sapwood/when_all.hpp>

#include <algorithm>
#include <array>
#include <exception>

namespace sapwood {

namespace {

constexpr std::size_t piece_bytes = 16u << 10;

task<> give(file& to, std::string_view input) {
    if (!to.is_open()) {
        co_return;
    }
    while (!input.empty()) {
        const auto written = co_await as_result(to.write_some(input));
        if (!written) {
            if (written.error() == std::errc::broken_pipe) {
                break; // it does not want to read all of it
            }
            if (written.error() == std::errc::operation_canceled) {
                throw cancelled{};
            }
            throw std::system_error(written.error(), "cannot write a program's input");
        }
        input.remove_prefix(*written);
    }
    co_await to.close();
}

task<> take(file& from, std::string& kept, std::uint64_t& dropped, std::size_t bytes_max) {
    if (!from.is_open()) {
        co_return;
    }
    std::array<char, piece_bytes> piece;
    while (const std::size_t got = co_await from.read_some(piece)) {
        const std::size_t taken = std::min(got, bytes_max - kept.size());
        kept.append(piece.data(), taken);
        dropped += got - taken;
    }
}

} // namespace

task<process_output> run_process(command what, run_process_options options) {
    const auto capture = [](stdio& stream, stdio instead) {
        if (stream.what() == stdio::kind::inherited) {
            stream = instead;
        }
    };
    SAPWOOD_ASSERT(options.input.empty() || what.in.what() == stdio::kind::inherited,
                   "run_process() was given an input for a program whose command has another");
    capture(what.in, options.input.empty() ? stdio::null() : stdio::pipe());
    capture(what.out, stdio::pipe());
    capture(what.err, stdio::pipe());
    const bool leave_running = what.stop.leave_running;
    process child = co_await process::start(std::move(what));
    process_output result(exit_status::exited(0));
    std::exception_ptr failure;
    try {
        co_await when_all(
            give(child.in, options.input),
            take(child.out, result.out, result.out_dropped, options.output_bytes_max),
            take(child.err, result.err, result.err_dropped, options.output_bytes_max));
        result.status = co_await child.wait();
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        if (!leave_running) {
            try {
                (void)co_await child.stop();
            } catch (const std::system_error&) {
                // The first failure counts.
            }
        }
        std::rethrow_exception(failure);
    }
    co_return result;
}

} // namespace sapwood
