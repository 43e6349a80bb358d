#include "segment_keeper.hpp"

#include <sapwood/retention.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>

#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <new>

namespace sapwood::collector {

namespace {

constexpr clock::duration look_every = std::chrono::seconds(1);
constexpr clock::duration in_any_case = std::chrono::hours(1);

/// What fails is told.
task<> remove_old(intake& shared, const named_log_options& options) {
    try {
        const auto work = [&options] {
            return remove_old_segments(options.path, options.keep,
                                       std::chrono::system_clock::now());
        };
        const retention_report report = co_await run_blocking(work);
        shared.gate.segments_removed += report.removed;
        for (const std::string& each : report.failures) {
            shared.tell(fmt::format("log {}: {}", options.name, each));
        }
    } catch (const std::exception& failure) {
        shared.tell(fmt::format("log {}: its old segments are not removed: {}", options.name,
                                failure.what()));
    }
}

} // namespace

task<> keep_segments(intake& shared, const named_log& of) {
    if (of.options().keep.is_unlimited()) {
        co_return;
    }
    std::uint64_t seen = 0;
    clock::time_point due{};
    for (;;) {
        try {
            const std::uint64_t begun = of.log().counts().segments_begun;
            const auto now = event_loop::current().now();
            if (begun != seen || now >= due) {
                seen = begun;
                due = now + in_any_case;
                co_await remove_old(shared, of.options());
            }
            co_await sleep_for(look_every);
            continue;
        } catch (const std::bad_alloc&) { // there may be memory for the next look
        }
        co_await yield();
    }
}

} // namespace sapwood::collector
