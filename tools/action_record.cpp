#include "action_record.hpp"

#include "action_record_json.hpp"
#include "action_record_text.hpp"

#include <cstring>

namespace sapwood::tools {

namespace {

constexpr std::string_view place_name = "task_uuid";

bool names_task(std::string_view line) noexcept {
    return ::memmem(line.data(), line.size(), place_name.data(), place_name.size()) != nullptr;
}

} // namespace

action_reader::action_reader() : json_(json_state::make()) {}

action_reader::~action_reader() = default;

bool action_reader::is_built() noexcept {
#ifdef SAPWOOD_HAS_SIMDJSON
    return true;
#else
    return false;
#endif
}

action_reader::outcome action_reader::read(std::string_view line) {
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    numbered_ = {};
    const std::string_view body = take_number(line, numbered_);
    if (body.starts_with('{')) {
        return read_json(body);
    }
    if (!names_task(body)) {
        return outcome::none;
    }
    const log_line& parsed = others_.parse(body);
    if (!parsed.record.empty()) {
        return read_json(parsed.record);
    }
    return make_json_of(parsed, others_, converted_) ? read_json(converted_) : outcome::none;
}

} // namespace sapwood::tools
