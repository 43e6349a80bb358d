// The counts of a durable pipeline, against what its producers know: of one life in `durable`.
#pragma once

#include "account.hpp"

#include <sapwood/lsn.hpp>
#include <sapwood/pipeline.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sapwood::simulation {

/// A record that the pipeline took, in this life.
struct accepted_record {
    std::uint32_t producer;
    std::uint32_t number;
    lsn place;
};

/// What the producers of one life know, by which the log's counts are judged.
struct knowledge {
    std::vector<accepted_record> accepted;
    std::uint64_t refused = 0;
    std::uint64_t durable = 0;
    std::uint64_t lost = 0;
    /// The number before the life's first.
    lsn begin = lsn::none;
    /// The highest number that somebody was told is durable, in this life or an earlier one.
    lsn acknowledged = lsn::none;
    std::optional<std::string> wrong;
};

struct life_result {
    knowledge known;
    /// It was closed, and says so much of what became of the records.
    std::optional<pipeline_counts> counts;
    bool is_closed_well = false;
};

/// At any moment: accepted = durable + written only + lost + in flight, and each of these is what
/// the numbers and those who have been told of them allow. Otherwise `known` says what is wrong.
void check_counts(const pipeline_counts& counts, knowledge& known);

/// A log that has ended has counted what its producers know, and has nothing in flight any more.
/// Of one that has.
[[nodiscard]] std::optional<std::string> check_account(const life_result& lived);

/// What is lost is not there, and nothing else is missing, by the last look of `told`.
[[nodiscard]] std::optional<std::string> check_losses(const life_result& lived,
                                                      const account& told);

} // namespace sapwood::simulation
