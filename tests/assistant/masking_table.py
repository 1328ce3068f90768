"""Labelled lines, Chinese first, on which recall and precision of masking are measured.

A value that must be masked stands in «KIND|value»; everything outside such marks must stay as it is.
All persons, numbers and addresses are invented; those with a check digit carry a right one.
"""

PEOPLE = ("张伟", "欧阳建国", "李娜", "诸葛明轩", "Sarah Connor", "Müller", "古丽娜尔·买买提")
"""The people of the context that the caller hands in."""

LINES = """
这位采购负责人的身份证号是«RESIDENT_ID|110101199003070839»，请登记
身份证：«RESIDENT_ID|11010119900307774X»。
法定代表人证件号码«RESIDENT_ID|44030519851212774x»，已核验
驾驶员«RESIDENT_ID|４４０３０５１９８５１２１２０８３９»明天送货
他报的号码是 «RESIDENT_ID|310104 19760229 0830»，下午来签字
访客登记：«RESIDENT_ID|510107-20010815-0833»
«RESIDENT_ID|650102199911300830»（授权代表）
受益人：«RESIDENT_ID|330106198806060835»；比例100%
身份证 «RESIDENT_ID|420106 1992 0419 0831» 与合同一致
客户备注 ID:«RESIDENT_ID|350203200301210834»
港澳居民居住证«RESIDENT_ID|810000199303150834»有效期五年
老身份证«RESIDENT_ID|130503670401001»，15位的
the visitor's ID card is «RESIDENT_ID|120102196907010833», please register
He sent «RESIDENT_ID|320505199510180836» by mistake
请把款打到«BANK_CARD|6212262000012345672»
工行卡号 «BANK_CARD|6228 4800 1234 5678 903»，开户行武汉
收款账户：«BANK_CARD|6217000010123456785»
尾款汇入«BANK_CARD|9558801234567890128»即可
卡号«BANK_CARD|4367-4212-3456-7890-129»
报销卡«BANK_CARD|６０１３８２１２３４５６７８９０１２３»
他的招行卡是«BANK_CARD|6225 8812 3456 7898»，请财务核对
押金退到 «BANK_CARD|622260001234567893»
对公账号：«BANK_CARD|44250100003300001234»，户名见合同
paid with card «BANK_CARD|4111 1111 1111 1111» yesterday
Her card «BANK_CARD|5525001234567892» was declined
corporate Amex «BANK_CARD|340000000000009» on file
甲方统一社会信用代码：«CREDIT_CODE|91110108MA01ABCD1E»
税号«CREDIT_CODE|91310115MA1K3XYT6K»，开专票
纳税人识别号 «CREDIT_CODE|91440300708461136T»
开票信息：«CREDIT_CODE|92330106MA2H5T7K8Y»，个体户
医院代码«CREDIT_CODE|12100000400010227P»
该协会«CREDIT_CODE|52500000450466117E»已注册
信用代码：«CREDIT_CODE|９１３５０２１１Ｍ０００１００Ｙ４６»
合作社 «CREDIT_CODE|93510100MA6CDE4X11» 要求赊销
村委会«CREDIT_CODE|N1340123MF1234567F»
«CREDIT_CODE|91110000600037341L»是公开的
营业执照上写的是 «CREDIT_CODE|91320594 MA1W2345Q U» 没错吧
税号小写的：«CREDIT_CODE|91310115ma1k3xyt6k»
the buyer's USCC is «CREDIT_CODE|53440300MJL12345KA».
报价发到«EMAIL|zhang.wei@example.com»，谢谢
邮箱：«EMAIL|cgb_2024@hospital.example.cn»
抄送«EMAIL|li-na+po@example.com.cn»和«EMAIL|fin@example.org»。
请发ｅｍａｉｌ：«EMAIL|wang＠example.com»
QQ邮箱«EMAIL|29384756@qq.com»收不到附件
资料已寄《«EMAIL|purchase@sub.example.co»》
Contact «EMAIL|sarah.connor@example.com».
mailto:«EMAIL|o'brien@example.ie»
E-mail «EMAIL|x_y-z@mail-server.example.net», then call
我的手机«PHONE|13812345678»，随时联系
电话：«PHONE|139 1234 5678»
请拨打«PHONE|186-1234-5678»找采购部
手机号码«PHONE|１３８１２３４５６７８»（全角）
«PHONE|+86 13712345678»是主任的号
联系方式 «PHONE|+86-159-1234-5678»
从香港拨 «PHONE|0086 177 1234 5678»
«PHONE|8613512345678»（带国家码）
主任电话«PHONE|1991 234 5678»打不通
两个号：«PHONE|13812345670»、«PHONE|13912345671»，都行
两个号«PHONE|13812345670»/«PHONE|13912345671»
客户留言：我是三院的，回电«PHONE|166 12345678»。
tel«PHONE|15812345678»请在九点后打
他说“打«PHONE|１５１－１２３４－５６７８»”
新号段«PHONE|19212345678»刚办
物联网卡«PHONE|14712345678»不接电话
我电话是 «PHONE|1 3 8 1 2 3 4 5 6 7 8» 别打错
口头报的：«PHONE|幺三八一二三四五六七八»
手机（«PHONE|173.1234.5678»）周末也开
微信同号«PHONE|18812345678»
办公室«PHONE|010-62345678»
座机：«PHONE|0755-26001234»转客服
总机«PHONE|(021) 5888 8888 转 802»
设备科«PHONE|（0571）87654321»
«PHONE|0512 6285 1234»，上班时间
传真 «PHONE|+86 21 5888 8889»
采购办«PHONE|02787654321»没人接
院办电话：«PHONE|87654321»
座机 «PHONE|6234 5678»，分机另给
固话«PHONE|０２０－８７６５４３２１»
总部«PHONE|0595-22881234-8012»
香港办事处 «PHONE|+852 2345 6789»
台湾代理«PHONE|+886 2 2345 6789»
Call me on «PHONE|+1 415-555-2671» after nine
phone: «PHONE|+44 20 7946 0958»
my mobile is «PHONE|13612345678», thanks
Tel. «PHONE|021-58888888», ask for purchasing
Phone: «PHONE|(415) 555-2671»
reach her at «PHONE|+49 30 901820»
短信发«PHONE|13312345678»就行，别打电话
加我微信«WECHAT|zhangwei_2020»
微信号：«WECHAT|wxid_a1b2c3d4e5f622»
微信：«WECHAT|lisa-wu88»
微信号是«WECHAT|sunny1990»，备注公司名
我的vx：«WECHAT|hello_kitty7»
vx «WECHAT|cgzg_0755»，加我
加v：«WECHAT|caigou2023»
加个微信吧 «WECHAT|zz20200101»
她微信 «WECHAT|Mary_Chen»
微信ID:«WECHAT|dr-zhao-ent»
«WECHAT|wxid_0k9j8h7g6f5d21»
微信（«WECHAT|liming_hz»）周末也回
微信号“«WECHAT|qingfeng2008»”
请搜微信号 «WECHAT|jianshe_eq»
V信：«WECHAT|laozhou_88»
wx：«WECHAT|hospital_lab3»
«WECHAT|xiaoyu_1988»（微信）
«WECHAT|tian-tian66»是我的微信
加微信：«WECHAT|wanghaibo»，谢谢
微信号«WECHAT|panyueming»
他的微信是 «WECHAT|chenjian0312»，手机«PHONE|13712345670»
薇信 «WECHAT|m_zhou2019»
My WeChat ID is «WECHAT|anna_liu»
WeChat: «WECHAT|tom-zhang-88»
add me on wechat: «WECHAT|kevin2021»
You can add my WeChat «WECHAT|linda_gao», it is faster
weixin «WECHAT|bobby_1985»
微信 / WeChat：«WECHAT|dragon_eq»
QQ：«QQ|29384756»
加QQ«QQ|1029384756»发图纸
车牌«PLATE|京A12345»进厂
送货车«PLATE|粤B·D12345»到了
«PLATE|沪AD12345»停在3号门
«PLATE|浙A F8888»和«PLATE|苏E9K88Q»今天来
请放行 «PLATE|鲁B·2F3G4»，两人
挂车«PLATE|冀A1234挂»超重
车号：«PLATE|新A88888»
教练车«PLATE|川A1234学»
司机开«PLATE|京Ａ８８８８８»
港车«PLATE|粤Z1234港»
寄到«ADDRESS|浙江省杭州市余杭区文一西路969号»
收货地址：«ADDRESS|上海市浦东新区张江路88号2号楼301室»
他家住«ADDRESS|北京市朝阳区建国路甲92号世茂大厦A座1203室»
样机发«ADDRESS|广东省深圳市南山区科技园南区深南大道10000号»，到付
地址是«ADDRESS|苏州工业园区星湖街328号»
公司在«ADDRESS|成都市高新区天府大道中段1388号1栋»
请寄«ADDRESS|武汉市洪山区珞喻路1037号»医学院收
送到«ADDRESS|幸福小区5号楼2单元301室»
住址：«ADDRESS|江苏省南京市鼓楼区汉口路２２号»
快递«ADDRESS|上海市长宁区延安西路1234弄5号602室»
安装地点：«ADDRESS|天津市滨海新区第三大街51号»
发票寄«ADDRESS|厦门市思明区湖滨南路388号国贸大厦28楼»
地址：«ADDRESS|安徽省合肥市长丰县双凤镇双墩村»
邮寄至«ADDRESS|新疆维吾尔自治区乌鲁木齐市天山区解放南路8号»
ship it to «ADDRESS|88 Zhangjiang Road», thanks
our office is at «ADDRESS|No. 1268 West Nanjing Road, Room 2201»
«PERSON|张伟»上周说预算没批
和«PERSON|欧阳建国»院长约了周三
«PERSON|李娜»、«PERSON|张伟»都参加评审
请转告«PERSON|张 伟»，价格已更新
决策人是«PERSON|诸葛明轩»（设备科）
客户«PERSON|古丽娜尔·买买提»要求清真餐
«PERSON|Sarah Connor» asked for a discount
mail from «PERSON|sarah connor» about the trial
Herr «PERSON|Müller» prefers German
与«PERSON|Sarah  Connor»视频会议
«PERSON|李娜»的手机«PHONE|13812340000»，微信«WECHAT|lina_2016»，邮箱«EMAIL|lina@example.com»
«PERSON|张伟» (tel «PHONE|010-87654321») lives at «ADDRESS|海淀区中关村大街27号»
型号 UX-9000 Pro 报价 ¥1,280,000.00
底价 13800138000 元，含税
订单号 6212262000012345672 已发货
合同编号 HT202611230001，签于2026-11-23
合同号13812345678请勿当作电话
运单号：SF1381234567890
序列号 SN:13912345678 在保
产品编码 6901234567892
商品条码6923450657713已录入
销售额 13 500 000 000 元，同比+12.5%
总价 ¥13912345678
第三季度回款 1,381,234,567.80 元
交期 2026年11月23日 14:30，共 45 天
折扣 8.5 折，毛利率 32.7%
周期：30、45、60 天，波动 ±7 天
VX-3000 与 VX Pro-2000 的区别
微信小程序 mini-app 2.0 已上线
企业微信 WeCom 接入 CRM_v3
我们用微信 CRM integration 做跟进
微信公众号阅读 10,000 次
发微信 message 给客户
通过微信跟进 3 次，电话 2 次
We sent a WeChat message yesterday
follow up by WeChat: please confirm the date
WeChat Work and WeChat Pay are both supported
升级到新C30000系列
采购新B20000型主机两台
华为云E12345节点
地铁2号线人民路站
思路3号方案更省钱
渠道12号通知
气路2号阀更换
今天走的是高端路线，1号机先装
8月3号前答复
上海市浦东新区的客户增长 20%
浙江省医疗设备行业政策解读
第88号文件规定
IP 192.168.10.138 端口 8080
版本 3.11.4，构建 20261123.1
时间戳 1700000000000
uuid 018f3c5e-7b1a-7c3d-9e2f-138123456789
https://example.com/products/13812345678?x=1
SKU 8613812345678-A
物料号 DZ-13812345678
发票号码 12345678，金额 9,800 元
三台 CT 每台 3,980,000 元，账期 90 天
ROI 18 个月，3 年节省 6,217,000 元
流量 5000 mL/min，压力 0.4 MPa
预算 500-800 万，预计 3-5 月签
规格 1500x2000x300，重 1380 kg
编号 110101199003070830 的档案（校验位不对）
批次号 622600012345678900
条目 6225881234567890 不是卡（校验位不对）
流程码 6212 2620 0001 2345 679
The list price is USD 1,380,013.80 per unit
Order No. 4111111111111111 shipped
PO 15812345678 is closed
lead time 12-14 weeks, 2 units
see page 138, table 12.3, rev. 4
3 Main points and 5 Street smart tips
GB 11643-1999 和 GB 32100-2015 标准
ISO13485 认证号 ISO-2024-0086
交易流水号 20261123138123456789
项目编号：2026-0755-26001234
评分 86 分，决策链覆盖度 67%
王主任说直接打他手机«PHONE|13566778899»，不要打总机
联系人：刘工 «PHONE|18600001111»/«PHONE|18600002222»
手机号 «PHONE|138-1234-5678»，邮箱 «EMAIL|liu.gong@example.cn»
请加客服微信：«WECHAT|kefu_sortie01»
这是我名片，微信«WECHAT|zhaoqiang88»
微信名片发您了，微信号：«WECHAT|sunli-1985»
客户微信昵称老王，号 «PHONE|13011112222»
对方微信（«WECHAT|wang_jg»）
VX: «WECHAT|Bio_Lab2020»
+V：«WECHAT|mede2022»
加下微信«WECHAT|lijing0808»方便沟通
我的微信就是«WECHAT|hao123456»
微信搜索«WECHAT|guoyao_sun»
you can find me on WeChat (ID: «WECHAT|emma_wu»)
wechat/whatsapp «PHONE|+86 138 1234 5678»
Wechat: «WECHAT|jackma88»
reach me via WeChat at «WECHAT|ruby_chen»
座机号«PHONE|0316-2345678»
电话 «PHONE|0471-6543210»，找后勤
热线«PHONE|021 6888 8888»
总机：«PHONE|028-85551234转8003»
办公电话：«PHONE|(010)82345678»
电话:«PHONE|0755 8234 5678» 传真:«PHONE|0755 8234 5679»
Mob: «PHONE|+8613900001111»
tel: «PHONE|+1 (212) 555-0187»
her cell is «PHONE|212-555-0187»
call «PHONE|13700009999» or «PHONE|010 8888 7777»
号码：«PHONE|13100001111»
客户地址：«ADDRESS|重庆市渝北区龙溪街道红锦大道86号»
请将设备送至«ADDRESS|河南省郑州市金水区经三路68号平安大厦12层»
地址:«ADDRESS|山东省济南市历下区经十路17703号华特广场B座502»
我们在«ADDRESS|徐汇区漕溪北路18号实业大厦30楼»
送货地址：«ADDRESS|东莞市长安镇振安中路168号»
他住«ADDRESS|万科城市花园3栋2单元502室»
发到«ADDRESS|西安市雁塔区科技二路72号»
«ADDRESS|朝阳区望京街10号望京SOHO塔1»
Address: «ADDRESS|Room 1203, 500 Nanjing West Road, Shanghai»
车牌号是«PLATE|沪C·D3456»
接机车«PLATE|苏ED56789»
司机驾驶«PLATE|豫A9B123»货车
车牌：«PLATE|贵AF12345»
出生证明与身份证«RESIDENT_ID|11010119900307774X»复印件
ID card no. «RESIDENT_ID|440305198512120126»
转账到卡«BANK_CARD|6225 8812 3456 7898»
打款账户«BANK_CARD|6217000010123456785»（建行）
统一代码 «CREDIT_CODE|91440300708461136T»，开增值税票
请把«EMAIL|a@example.com»,«EMAIL|b.c@example.com»都加上
邮件：«EMAIL|Sales.East@EXAMPLE.COM»！
加我QQ：«QQ|88886666»
微信聊了两次，客户回复很慢
微信 5 次触达，打开率 40%
微信 follow-up 3 次
在微信里 share_link 给他
微信支付 pay_v3 接口已通
WeChat mini-program launched in 2026
WeChat follow-ups: 3, calls: 2
请把UX-2000型主机发往上海分公司
走3号门，沿2号路
一号机房在二楼
中心3号楼改造预算 500 万
上海市场第2季度增长
大道至简，3号方案
京东A12345678订单
浙B2B平台上线
川崎A12345
报价单号 HT13812345678
合同金额：人民币 13,800,138,000 元整
客户编号 13812345678
资产编号：6225881234567898
工单13812345678已关闭
HS编码 9018129190
注册证号 国械注准20203060123
国械注进20193182345
NMPA 2026-0123-4567
批号 20261123138
电流 0.13812345678 A
库存 13812345678 支
共计￥6225881234567898
DOI 10.1016/j.jacc.2020.13812
Model 700-1234567 is out of stock
part number 415-555-2671
warranty 3 years, 12 Main steps
the 5 New Street lamps
2026-11-23 至 2026-12-31，09:00-18:00
周期 28-32-35 天
3.14159265358979323846
电话 2026-11-23 已沟通
电话沟通 45 分钟
手机端 2.0.13812 版
你加我微信吧，«WECHAT|song_yiming»
微信是：«WECHAT|xk2019hz»，备注“采购”
vx同号«PHONE|13511112222»
老板微信 «WECHAT|ma_zong_6»
我vx«WECHAT|yolo_2233»
微信：«WECHAT|Dr_Wang_ICU»；电话：«PHONE|13900002222»
微信ID是«WECHAT|zxcv-1234»
公司微信客服号«WECHAT|sortie_help»
请添加微信号（«WECHAT|hanmeimei»）
联系wx «WECHAT|peter_pan9»
他的WeChat：«WECHAT|frank1977»
微信联系方式：«WECHAT|he_xiaolong»
Please add «WECHAT|grace_ho88» on WeChat
WeChat contact: «WECHAT|lucy_liu_01»
her wechat is «WECHAT|nina-zhou3».
主任给的微信：«WECHAT|yangguang»，已通过
加她微信«WECHAT|tangtang520»就能看报价
微信/电话：«PHONE|13611113333»
微信电话同号：«PHONE|136 1111 4444»
手机/微信 «PHONE|15900001111»
电话联系不上，«PHONE|18911112222»停机
客户微信群里有 30 人
微信朋友圈广告 v2_2026 投放
微信扫码 qr_code_01 即可
加微信群 3 个
WeChat group chat_2026 was closed
微信: 已加，3 天未回
vx-9000 与 wx-8 两款
微信您加这个：«WECHAT|bright_star7»
有事微信留言，«WECHAT|fan_jie2020»
他留了微信«WECHAT|huang_ym»和手机«PHONE|15522223333»
微信号:«WECHAT|Tiger-Lee»（工作日在线）
采购经理，vx：«WECHAT|pur_mgr_01»
wx号 «WECHAT|moonlight99»
+微信：«WECHAT|cc_1020»
wechat -> «WECHAT|oscar_tan»
ping me on WeChat, «WECHAT|ivy_2017»
WeChat account: «WECHAT|med_supply»
WeChat（«WECHAT|leo-wang-5»）
微信 «WECHAT|tqm198806»
请备注后加 «WECHAT|su_lab_2» 的微信
微信名：小陈 号：«WECHAT|chen_xiao1»
她的威信«WECHAT|ruoxi_0214»
微信公众号 sortie_news 关注 2 万
在微信商城 shop_v2 下单
我方 wx-api_v3 已上线
用 WeChat SDK wx_login 接口
客户说微信看过 brochure_2026.pdf
发了微信，附件 quote_v3
老婆让我加的微信是谁：«WECHAT|kk_4455»
周工的微信——«WECHAT|zhou_gc7»
微信二维码扫不了，直接搜«WECHAT|lab2026hz»
她说微信换了，新的«WECHAT|yy_new2026»
微信账号「«WECHAT|xinxin1996»」
Please find me on WeChat: «WECHAT|bob_yang3»
WeChat handle «WECHAT|wei_2244», thanks
wx «WECHAT|dada_2001»；邮箱 «EMAIL|dada@example.com»
加微«WECHAT|papa_2001»
微信〔«WECHAT|nn-2020-nn»〕
v信 «WECHAT|zero_zero»
微信 id «WECHAT|fanfan77»
我微信和手机号同号 «PHONE|13344445555»
手机微信都是«PHONE|13344445566»
客户更喜欢用微信，不用 email_v2 系统
微信推送 template_3 已审批
请在微信中打开 survey_2026
WeChat channel utm_source=wx_2026
WeChat open rate 45%, sms_v2 12%
微信端 UX-9000 页面浏览 12 次
企业微信群机器人 bot_01 已接入
""".strip().splitlines()
