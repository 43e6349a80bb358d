// What the tests of durable logs on real disks do: open one, append, wait until it says that its
// disk refuses it, and read it again. A disk that cannot be had here is told of, and the test
// passed over.
#pragma once

#include "support/scratch_disk.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/log_verifier.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <utility>

namespace sapwood::test {

inline std::unique_ptr<scratch_disk> disk_of(scratch_disk::kind kind, std::size_t bytes) {
    std::string why_not;
    auto disk = scratch_disk::mount(kind, bytes, why_not);
    if (disk == nullptr) {
        MESSAGE("skipped: " << why_not);
    }
    return disk;
}

inline verified_log verified(const std::string& path) {
    log_verifier verifier;
    return verifier.verify(log_verifier::segments_of(path));
}

inline pipeline_options durable() {
    pipeline_options options;
    options.durable = durability::batch();
    return options;
}

inline task<pipeline> opened(std::string path, pipeline_options options,
                             std::size_t preallocated = 0) {
    const file_sink_options file{.path = path, .preallocated_bytes = preallocated};
    pipeline log = co_await pipeline::open(file, options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

inline task<lsn> append(pipeline& log, std::size_t bytes) {
    record item(level::info, 1, std::string(bytes, 'x'));
    co_return co_await log.append(std::move(item));
}

/// Waits until the log is degraded for `why`, but not for ever: a log that makes a mistake on
/// purpose may take for written what was not, and that is to be seen soon.
inline task<> until_degraded(pipeline& log, std::errc why) {
    const bool is_mistaken = std::getenv("SAPWOOD_TEST_MISTAKE") != nullptr;
    const auto until = clock::now() + std::chrono::seconds(is_mistaken ? 2 : 60);
    while (log.health().reason != why && clock::now() < until) {
        co_await sleep_for(std::chrono::milliseconds(1));
    }
    REQUIRE(log.health().reason == why);
}

/// accepted = durable + written only + reported lost + in flight, of a log that is closed: nothing
/// is in flight any more.
inline void check_account(const pipeline& log) {
    const pipeline_counts counts = log.counts();
    CHECK(counts.records_accepted ==
          counts.records_durable + counts.records_written_only + counts.records_lost);
    CHECK(counts.records_in_flight == 0);
    CHECK((counts.records_written_only == 0 || counts.durable != counts.accepted));
}

} // namespace sapwood::test
