// What a durable log says, over all its segments, as somebody reads it who knows its form.
#pragma once

#include <sapwood/lsn.hpp>
#include <sapwood/sim_world.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood::simulation {

struct durable_log {
    /// The messages of its records, each with a newline, in order.
    std::string messages;
    /// Those of all whole lines, whatever their numbers are.
    std::string all;
    /// The messages by number.
    std::map<lsn, std::string> places;
    /// What is wrong with its form.
    std::optional<std::string> wrong;

    /// Segments that were set aside count up to the number in their name. `is_recovered`: the log
    /// has been opened since the last crash, and has whole lines only, unless it `may_be_torn`:
    /// somebody else has written to it. It `may_begin_anew` where somebody has taken it away: its
    /// numbers do so then, in another file.
    [[nodiscard]] static durable_log read(const sim_world& world, std::string_view name,
                                          bool is_recovered, bool may_be_torn, bool may_begin_anew);

  private:
    bool may_be_torn = false;
    bool may_begin_anew = false;

    void take(std::string_view text, std::uint64_t end, bool is_recovered);
};

} // namespace sapwood::simulation
