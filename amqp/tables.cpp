#include "codec.hpp"

#include <new>

namespace sapwood::amqp::detail {

namespace {

constexpr std::size_t pool_page_bytes_of_tables = 1024;

[[nodiscard]] field_value to_value(const amqp_field_value_t& from) {
    const auto& it = from.value;
    switch (from.kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        return it.boolean != 0;
    case AMQP_FIELD_KIND_I8:
        return it.i8;
    case AMQP_FIELD_KIND_U8:
        return it.u8;
    case AMQP_FIELD_KIND_I16:
        return it.i16;
    case AMQP_FIELD_KIND_U16:
        return it.u16;
    case AMQP_FIELD_KIND_I32:
        return it.i32;
    case AMQP_FIELD_KIND_U32:
        return it.u32;
    case AMQP_FIELD_KIND_I64:
        return it.i64;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        return it.u64;
    case AMQP_FIELD_KIND_F32:
        return static_cast<double>(it.f32);
    case AMQP_FIELD_KIND_F64:
        return it.f64;
    case AMQP_FIELD_KIND_DECIMAL: {
        double value = it.decimal.value;
        for (int i = 0; i < it.decimal.decimals; ++i) {
            value /= 10;
        }
        return value;
    }
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
        return view(it.bytes);
    case AMQP_FIELD_KIND_ARRAY: {
        list made;
        for (int i = 0; i < it.array.num_entries; ++i) {
            made.push_back(to_value(it.array.entries[i]));
        }
        return made;
    }
    case AMQP_FIELD_KIND_TABLE:
        return to_table(it.table);
    default:
        return {};
    }
}

} // namespace

table to_table(const amqp_table_t& from) {
    table made;
    made.reserve(static_cast<std::size_t>(from.num_entries));
    for (int i = 0; i < from.num_entries; ++i) {
        const amqp_table_entry_t& each = from.entries[i];
        made.push_back({std::string(view(each.key)), to_value(each.value)});
    }
    return made;
}

void copy_properties(const content_header& header, properties& made) {
    const amqp_basic_properties_t& from = *header.props;
    made.are_headers_left_out = header.are_headers_left_out;
    const auto take = [&](amqp_flags_t flag, amqp_bytes_t what, std::string& into) {
        if ((from._flags & flag) != 0) {
            into = view(what);
        }
    };
    take(AMQP_BASIC_CONTENT_TYPE_FLAG, from.content_type, made.content_type);
    take(AMQP_BASIC_CONTENT_ENCODING_FLAG, from.content_encoding, made.content_encoding);
    take(AMQP_BASIC_CORRELATION_ID_FLAG, from.correlation_id, made.correlation_id);
    take(AMQP_BASIC_REPLY_TO_FLAG, from.reply_to, made.reply_to);
    take(AMQP_BASIC_EXPIRATION_FLAG, from.expiration, made.expiration);
    take(AMQP_BASIC_MESSAGE_ID_FLAG, from.message_id, made.message_id);
    take(AMQP_BASIC_TYPE_FLAG, from.type, made.type);
    take(AMQP_BASIC_USER_ID_FLAG, from.user_id, made.user_id);
    take(AMQP_BASIC_APP_ID_FLAG, from.app_id, made.app_id);
    if ((from._flags & AMQP_BASIC_HEADERS_FLAG) != 0) {
        made.headers = to_table(from.headers);
    }
    if ((from._flags & AMQP_BASIC_DELIVERY_MODE_FLAG) != 0) {
        made.is_persistent = from.delivery_mode == AMQP_DELIVERY_PERSISTENT;
    }
    if ((from._flags & AMQP_BASIC_PRIORITY_FLAG) != 0) {
        made.priority = from.priority;
    }
    if ((from._flags & AMQP_BASIC_TIMESTAMP_FLAG) != 0) {
        made.timestamp = from.timestamp;
    }
}

table_builder::table_builder() noexcept : pool_{} {
    ::init_amqp_pool(&pool_, pool_page_bytes_of_tables);
}

table_builder::~table_builder() {
    ::empty_amqp_pool(&pool_);
}

amqp_table_t table_builder::build(const table& from) {
    amqp_table_t made{0, nullptr};
    if (from.empty()) {
        return made;
    }
    made.entries = static_cast<amqp_table_entry_t*>(
        ::amqp_pool_alloc(&pool_, from.size() * sizeof(amqp_table_entry_t)));
    if (made.entries == nullptr) {
        throw std::bad_alloc();
    }
    for (const field& each : from) {
        made.entries[made.num_entries++] = {bytes(each.name), build(each.value)};
    }
    return made;
}

amqp_field_value_t table_builder::build(const field_value& from) {
    amqp_field_value_t made{};
    made.kind = AMQP_FIELD_KIND_VOID;
    if (const auto* const truth = std::get_if<bool>(&from.value)) {
        made.kind = AMQP_FIELD_KIND_BOOLEAN;
        made.value.boolean = *truth ? 1 : 0;
    } else if (const auto* const number = std::get_if<std::int64_t>(&from.value)) {
        made.kind = AMQP_FIELD_KIND_I64;
        made.value.i64 = *number;
    } else if (const auto* const real = std::get_if<double>(&from.value)) {
        made.kind = AMQP_FIELD_KIND_F64;
        made.value.f64 = *real;
    } else if (const auto* const text = std::get_if<std::string>(&from.value)) {
        made.kind = AMQP_FIELD_KIND_UTF8;
        made.value.bytes = bytes(*text);
    } else if (const auto* const inner = std::get_if<table>(&from.value)) {
        made.kind = AMQP_FIELD_KIND_TABLE;
        made.value.table = build(*inner);
    } else if (const auto* const values = std::get_if<list>(&from.value); values != nullptr) {
        made.kind = AMQP_FIELD_KIND_ARRAY;
        if (!values->empty()) {
            made.value.array.entries = static_cast<amqp_field_value_t*>(
                ::amqp_pool_alloc(&pool_, values->size() * sizeof(amqp_field_value_t)));
            if (made.value.array.entries == nullptr) {
                throw std::bad_alloc();
            }
            for (const field_value& each : *values) {
                made.value.array.entries[made.value.array.num_entries++] = build(each);
            }
        }
    }
    return made;
}

} // namespace sapwood::amqp::detail
